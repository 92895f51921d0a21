"""Latent actions: are they different, and do they stay so?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians
from terrarium.doctor.statistics.levels import find_shift

LEAST_ROWS = 100
FEWEST_ROWS, FEWEST_STEPS = 16, 500  # logged now and then: rows that will do after so many steps
LONG_STEPS = 2000  # after which a start is over, however few rows there are
COLLAPSED = 0.08  # of the maximal entropy
NARROW = 0.33  # of the maximal entropy
NARROW_OF_SEEN = 0.5  # of that of the most actions ever seen, where nothing says how many there are


@dataclass(frozen=True, eq=False)
class Actions:
    """How diverse the actions of each batch are.

    Attributes:
        steps_N: of the rows [N].
        entropy_N: entropy of the codes in nats [N]; the logarithm of their number where only that is logged.
        unique: the number of different actions in the median recent batch, or NaN.
        codes: number of action codes; the most ever seen in a batch where nothing says it.
        known: whether something says it.
        most: entropy of `codes` codes used equally often, in nats.
    """

    steps_N: FloatArray
    entropy_N: FloatArray
    unique: float
    codes: float
    known: bool

    @property
    def most(self) -> float:
        return math.log(self.codes)

    def late(self, share: float, least: int) -> FloatArray:
        """Entropies of the last share of the rows, at least so many if that is less than a quarter."""
        return self.entropy_N[-late_rows(self.entropy_N.size, share, least) :]


def late_rows(rows: int, share: float, least: int) -> int:
    """How many rows are the last share of some; of few rows more, but no more than a quarter."""
    return max(int(share * rows), min(least, max(5, rows // 4)))


def _actions(stage: StageEvidence) -> Actions | None:
    """What is known about a stage's actions, or None where it is too little to judge."""
    steps, entropy = stage.series("action_entropy")
    unique_steps, unique = stage.series("unique_actions")
    if entropy.size == 0:
        steps, entropy = unique_steps, np.log(np.maximum(unique, 1.0))
    codes, known = _number_of_actions(stage)
    if not tells(steps) or codes < 2:
        return None
    late = float(np.median(unique[-late_rows(unique.size, 0.25, 50) :])) if unique.size else math.nan
    return Actions(steps, entropy, late, codes, known)


def tells(steps_N: FloatArray) -> bool:
    """Whether a measure was logged often enough, or, now and then, for long enough."""
    few = steps_N.size >= FEWEST_ROWS and float(steps_N[-1]) >= FEWEST_STEPS
    return steps_N.size >= LEAST_ROWS or few


def _number_of_actions(stage: StageEvidence) -> tuple[float, bool]:
    """The number of action codes, and whether it is known or only the most that were seen at once."""
    if stage.plan.actions:
        return float(stage.plan.actions), True
    ratio = codes_per_use(stage)
    if ratio is not None:
        return ratio, True
    _, unique = stage.series("unique_actions")
    _, entropy = stage.series("action_entropy")
    seen = [float(unique.max())] if unique.size else []
    seen += [math.ceil(math.exp(min(10.0, float(entropy.max()))) - 0.01)] if entropy.size else []
    return max(seen, default=0.0), False


def codes_per_use(stage: StageEvidence) -> float | None:
    """Actions per batch divided by the logged usage, where that is the same whole number throughout."""
    unique, usage = stage.kept.column("unique_actions"), stage.kept.column("codebook_usage")
    if unique is None or usage is None:
        return None
    both = np.isfinite(unique) & np.isfinite(usage) & (usage > 0)
    if np.count_nonzero(both) < 20:
        return None
    ratios = unique[both] / usage[both]
    codes = round(float(np.median(ratios)))
    same = np.abs(ratios - codes) < 0.02 * codes
    return float(codes) if codes >= 2 and same.mean() > 0.95 else None


def actions_collapsed(stage: StageEvidence) -> Iterator[Finding]:
    """All transitions are given the same action.

    Looks for: an entropy of the action codes under 8 % of its maximum, or a single action in the batch,
    over the last tenth of the rows and at least 50 of them (a quarter of few): an epoch, not a batch.

    Why it matters: an action that is always the same tells the dynamics nothing. It then predicts the
    average of what may happen, and the finished world does not answer to the player.

    What to do: go back to a checkpoint from before the collapse; reward diverse codes (entropy or
    commitment terms), weigh what moves more, lower the learning rate.

    Silent when: there are fewer than 100 rows (16 after 500 steps), entropy is low at the first steps
    only, single batches have but one action, or entropy comes back again and again (`actions-unstable`).
    """
    actions = _actions(stage)
    if actions is None:
        return
    late = actions.late(0.1, 50)
    threshold = COLLAPSED * actions.most
    level = float(np.median(late))
    if level > threshold or float(np.quantile(late, 0.9)) > 2 * threshold or any(actions_unstable(stage)):
        return
    shift = find_shift(actions.entropy_N)
    fell = shift is not None and shift.before > 2 * threshold
    if not fell and not _long_enough(stage, actions):
        return
    first = int(actions.steps_N[shift.row if fell and shift is not None else 0])
    last = int(actions.steps_N[-1])
    yield Finding(
        "actions-collapsed",
        Severity.CRITICAL,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "action entropy, median of the last tenth", level, threshold, "nats"),
            Number(stage.source, "entropy of all codes in even use", actions.most, None, "nats"),
        ),
        {"level": level, "most": actions.most, "codes": actions.codes, "share": level / actions.most}
        | {"first_step": first, "last_step": last}
        | ({"had": shift.before} if fell and shift is not None else {}),
        confidence=0.95 if fell else 0.8,
        actions=("restart-from-checkpoint", "widen-actions") if fell else ("widen-actions",),
    )


def _long_enough(stage: StageEvidence, actions: Actions) -> bool:
    """Whether a start without diversity has lasted too long to be a start."""
    rows, last, planned = actions.entropy_N.size, float(actions.steps_N[-1]), stage.plan.steps
    if planned is None and rows >= 500:
        return True
    return (rows >= 1000 or last >= LONG_STEPS) and last >= 0.1 * (planned or 0)


def actions_narrow(stage: StageEvidence) -> Iterator[Finding]:
    """Few of the actions are used.

    Looks for: an entropy of the action codes under a third of its maximum, ln(number of actions), over
    the last quarter of the rows. The number of actions comes from the configuration or from the usage
    logged beside them. Where nothing says it, it is the most actions ever seen in a batch, and then no
    more than two of at least four may be left.

    Why it matters: what the codes do not tell apart, the player can't do. It limits the world; it does
    not explain a rising loss of the dynamics.

    What to do: let the stage weigh motion more or use more diverse footage; judge codes by whether the
    wrong one makes the prediction worse, not by their number alone.

    Silent when: few actions were asked for, entropy only fluctuates from batch to batch, or the run is
    young.
    """
    actions = _actions(stage)
    if actions is None or not _mature(stage, actions):
        return
    share = NARROW if actions.known else NARROW_OF_SEEN
    level = float(np.median(actions.late(0.25, 100)))
    few = actions.known or (actions.unique <= 2 and actions.codes >= 4)
    collapsed = any(actions_collapsed(stage)) or any(actions_unstable(stage))
    if level > share * actions.most or not few or collapsed:
        return
    shift = find_shift(actions.entropy_N)
    fell = shift is not None and shift.before > 1.5 * share * actions.most > 1.5 * shift.after
    first, last = int(actions.steps_N[shift.row if fell and shift else 0]), int(actions.steps_N[-1])
    yield Finding(
        "actions-narrow",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(
                stage.source,
                "action entropy over its maximum, median of the last quarter",
                level / actions.most,
                share,
                "ratio",
            ),
            Number(stage.source, "action entropy, last", float(actions.entropy_N[-1]), None, "nats"),
        ),
        {"level": level, "share": level / actions.most, "codes": actions.codes, "most": actions.most}
        | {"effective": math.exp(level), "first_step": first, "last_step": last}
        | ({} if math.isnan(actions.unique) else {"unique": actions.unique}),
        confidence=0.8 if actions.known else 0.5,
        actions=("widen-actions",),
    )


def _mature(stage: StageEvidence, actions: Actions) -> bool:
    rows, last = actions.entropy_N.size, float(actions.steps_N[-1])
    return (rows >= 300 or last >= LONG_STEPS) and last >= 0.2 * (stage.plan.steps or 0)


def actions_unstable(stage: StageEvidence) -> Iterator[Finding]:
    """The diversity of actions swings to zero and back.

    Looks for: entropy of the action codes, smoothed over at least five rows, that falls under 15 % of
    its own high level and climbs back over half of it, at least three times and each time for longer
    than noise does.

    Why it matters: the codes are re-assigned again and again. What an action means changes with every
    swing, so the dynamics learns from labels that contradict each other.

    What to do: lower the learning rate of the stage, or strengthen the term that keeps codes in use;
    take a checkpoint from before the first swing.

    Silent when: entropy fluctuates from batch to batch without going out, or falls once and stays
    (`actions-collapsed`).
    """
    actions = _actions(stage)
    if actions is None:
        return
    width = int(np.clip(actions.entropy_N.size // 400, 5, 25))
    blocks = block_medians(actions.entropy_N, width)
    smooth = blocks.medians
    high = float(np.quantile(smooth, 0.9))
    swings, low = _swings(smooth, 0.15 * high, 0.5 * high)
    if swings < 3 or high <= COLLAPSED * actions.most:
        return
    began = np.flatnonzero(smooth[: low + 1] >= 0.8 * float(np.median(smooth[: low + 1])))
    start = int(began[-1]) + 1 if began.size and began[-1] < low else low
    first = int(actions.steps_N[blocks.row(start)])
    last = int(actions.steps_N[-1])
    yield Finding(
        "actions-unstable",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "swings of the action entropy to zero and back", float(swings), 3.0),
            Number(stage.source, "action entropy, high level", high, None, "nats"),
        ),
        {"swings": float(swings), "high": high, "low": float(smooth.min())}
        | {"first_step": first, "last_step": last},
        confidence=0.85,
        actions=("lower-learning-rate", "widen-actions"),
    )


def _swings(smooth_B: FloatArray, low: float, high: float) -> tuple[int, int]:
    """How often a series went under `low` for two blocks or more and back over `high`, and first where."""
    state = np.where(smooth_B < low, -1, np.where(smooth_B > high, 1, 0))
    down = state == -1
    lasting = down & (np.roll(down, 1) | np.roll(down, -1))
    lasting[[0, -1]] = False
    state[down & ~lasting] = 0
    told = np.flatnonzero(state)
    turns = np.diff(state[told])
    downs = told[1:][turns == -2]
    begins_down = not told.size or state[told[0]] == -1
    return int(np.count_nonzero(turns == 2)), 0 if begins_down or not downs.size else int(downs[0])
