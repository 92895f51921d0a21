"""Losses compared with guessing: worse than it, or never better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.detectors.loss_values import constant_from
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.statistics.blocks import smooth
from terrarium.doctor.statistics.trend import mann_kendall

WORSE = 1.05  # times chance: closer is a bad start, or a term beside the cross-entropy
WORSE_WARMING = 1.15  # times chance, and times the best level, while the learning rate still rises
SHOT_UP, SHOT_ROWS = 1.5, 5  # times where it began and times chance, for so many rows: no warm-up does that
WARMING = 0.5  # of the rows: a warm-up that has taken more than this is not over, or too long to wait for
AT_CHANCE = 0.03  # of chance: a model that knows the frequencies of codes is already further below
LEAST_STEPS = 500  # after warm-up
LEAST_ROWS = 100
SHORT_STEPS, SHORT_SHARE = 50, 0.07  # of a plan that is short: its first 500 steps may be all it has
ENOUGH_STEPS = 1000  # after which a model has learnt something
ENOUGH_ROWS = 200
FLAT = 0.03  # a descent of less is none
CALM = 0.12  # noise from row to row that would hide a descent
COUNTS = (2, 10, 100, 1000, 32000, 32768, 50257, 50304, 65536, *(2**k for k in range(3, 16)))
"""Numbers of classes that are common: the logarithm of one betrays guessing where nothing declares it."""


@dataclass(frozen=True)
class Chance:
    """What guessing reaches.

    Attributes:
        name: how that is known.
        level: the loss of guessing, undivided.
        factor: by what the logged loss must be multiplied to be undivided.
    """

    name: str
    level: float
    factor: int


def chance(curve: LossCurve) -> Chance | None:
    """What guessing reaches, and whether the logged loss was divided by the accumulation steps.

    It was if its first rows fit chance better when multiplied; only a history with first rows can tell.
    """
    known = curve.guessing
    if known is None or not curve.positive:
        return None
    name, level = known
    steps = curve.plan.gradient_accumulation_steps or 1
    first = curve.back(curve.first)
    divided = (
        steps > 1 and curve.whole and abs(math.log(first * steps / level)) < abs(math.log(first / level))
    )
    return Chance(name, level, steps if divided else 1)


def loss_worse_than_chance(stage: StageEvidence) -> Iterator[Finding]:
    """The loss is worse than guessing.

    Looks for: a loss that stays more than 5 % above what guessing reaches (declared by the stage, or the
    logarithm of the number of codes) over the last quarter of the rows, and does not fall. Where the
    configuration accumulates gradients and the first rows show that the logged loss was divided by that, the
    undivided loss is compared.

    Why it matters: a model that knows nothing does better. Nothing justifies going on with such a
    run; and a divided loss hides it.

    What to do: stop. Look for the cause in the learning rate first, then in labels and the loss: targets
    shifted by one, a wrong mask, a sign.

    Silent when: no chance level is known, the first 500 steps (of a short plan 7 %, and 50) are not over,
    the loss is on its way down to where it has not been yet, or it is negative. While the learning rate
    still warms up, and in those first steps, only a loss counts that has risen by 15 % over its best level
    and over guessing, or that shot up by half over where it began and has not come back to guessing since.
    """
    curve = loss_curve(stage)
    guess = None if curve is None else chance(curve)
    if curve is None or guess is None:
        return
    worse = _worse(curve, guess.level / guess.factor)
    if worse is not None:
        yield _worse_than_guessing(stage, curve, guess, *worse)


def _worse(curve: LossCurve, limit: float) -> tuple[int, float] | None:
    """The row from which a loss is worse than a limit, and its late level; None where it is not."""
    warming = curve.warm >= WARMING * curve.count
    begin = 0 if warming else curve.warm
    since = curve.count - begin
    least_steps = _least_steps(curve)
    least_rows = min(LEAST_ROWS, least_steps)
    if since < least_rows or curve.steps[-1] - curve.steps[begin] < least_steps - 1:
        return None
    recent = curve.loss[-min(since, max(least_rows // 2, curve.count // 4)) :]
    parts = np.array([np.median(part) for part in np.array_split(recent, 8)])
    early = warming or since < LEAST_STEPS  # a healthy loss may not have reached guessing yet
    least = WORSE * limit
    if early:
        least = limit if _shot_up(curve, limit) else WORSE_WARMING * max(limit, curve.back(curve.best))
    late, lowest = float(np.median(parts[-3:])), curve.back(curve.best)
    falling = late < 0.98 * np.median(parts[:3]) and late <= WORSE * lowest  # to where it has not been
    return None if parts.min() <= least or falling else (_above_since(curve, limit), late)


def _worse_than_guessing(
    stage: StageEvidence, curve: LossCurve, guess: Chance, row: int, late: float
) -> Finding:
    values: dict[str, float | str] = {
        "loss": late * guess.factor,
        "logged": late,
        "chance": guess.level,
        "known_by": guess.name,
        "times": late / (guess.level / guess.factor),
        "step": curve.step(row),
        "last_step": curve.step(curve.count - 1),
    }
    if guess.factor > 1:
        values["factor"] = guess.factor
    return Finding(
        "loss-worse-than-chance",
        Severity.CRITICAL,
        stage.name,
        curve.step(row),
        curve.step(curve.count - 1),
        (Number(stage.source, "undivided loss, median of the last rows", late * guess.factor, guess.level),),
        values,
        confidence=0.97 if guess.factor == 1 else 0.9,
        actions=("check-effective-rate", "check-labels-and-loss", "smoke-test"),
    )


def _shot_up(curve: LossCurve, limit: float) -> bool:
    """Whether the loss went far above both guessing and its first rows, for longer than a batch or two."""
    peak = float(np.median(sliding_window_view(curve.loss, SHOT_ROWS), axis=1).max())
    return curve.whole and peak >= SHOT_UP * max(limit, curve.back(curve.first))


def _least_steps(curve: LossCurve) -> int:
    planned = curve.plan.steps
    return (
        LEAST_STEPS if planned is None else min(LEAST_STEPS, max(SHORT_STEPS, round(SHORT_SHARE * planned)))
    )


def _above_since(curve: LossCurve, limit: float) -> int:
    """The row from which smoothed blocks stay above a loss."""
    below = np.flatnonzero(smooth(curve.blocks.medians) <= math.log(limit))
    return curve.blocks.row(min(int(below[-1]) + 1, curve.blocks.medians.size - 1)) if below.size else 0


def loss_not_learning(stage: StageEvidence) -> Iterator[Finding]:
    """The loss never leaves its first level.

    Looks for: a history from the beginning, of at least 1,000 steps (or a fifth of the planned ones) and 200
    rows, whose loss stayed within 3 % of what guessing reaches (critical), or, where no chance level is
    known, did not fall by 3 % from its first rows on (watch; critical if it sits on the logarithm of a common
    number of classes).

    Why it matters: time is spent and nothing is learnt. The usual reasons are simple: a learning rate of
    zero, parameters that the optimizer does not have, a detached graph, a mask that selects nothing, labels
    that have nothing to do with the inputs.

    What to do: overfit a single batch. If that does not work either, check which parameters change in a step.

    Silent when: the run is short, warm-up takes most of it, the history begins late, the loss has fallen
    before, is constant (loss-constant), or is so noisy that a fall could hide in it.
    """
    curve = loss_curve(stage)
    if curve is None or not _long_enough(curve) or constant_from(curve) is not None:
        return
    guess = chance(curve)
    at = _at_chance(curve, guess) if guess is not None else None
    if at is False or (at is None and not _never_fell(curve)):
        return
    last = curve.back(curve.last)
    known, classes = at is True, _classes(last)
    values: dict[str, float | str] = {
        "first": curve.back(curve.first),
        "last": last,
        "step": curve.step(0),
        "last_step": curve.step(curve.count - 1),
        "noise": 100 * curve.noise,
    }
    threshold = curve.back(curve.first - FLAT)
    if guess is not None and known:
        values |= {"chance": guess.level, "undivided": last * guess.factor, "known_by": guess.name}
        threshold = guess.level * (1 - AT_CHANCE) / guess.factor
    elif classes:
        values["classes"] = classes
    yield Finding(
        "loss-not-learning",
        Severity.CRITICAL if known or classes else Severity.WATCH,
        stage.name,
        curve.step(0),
        curve.step(curve.count - 1),
        (Number(stage.source, "loss, median of the last tenth", last, threshold),),
        values,
        confidence=0.95 if known else 0.85 if classes else 0.6,
        actions=("check-effective-rate", "check-labels-and-loss", "smoke-test"),
    )


def _long_enough(curve: LossCurve) -> bool:
    planned = curve.plan.steps or math.inf
    steps = curve.steps[-1] >= min(ENOUGH_STEPS, max(LEAST_STEPS, 0.2 * planned))
    rows = curve.count - curve.warm >= max(ENOUGH_ROWS, curve.count // 2)
    return bool(steps and rows and curve.whole)


def _at_chance(curve: LossCurve, guess: Chance) -> bool | None:
    """Whether the loss never was better than guessing; None where it began at another level altogether."""
    level = math.log(guess.level / guess.factor)
    if curve.first > level + 1 or curve.first < level - 0.3:
        return None
    lowest = float(smooth(curve.blocks.medians, 5).min())
    return bool(lowest >= level - AT_CHANCE - 3 * _error(curve) and abs(curve.last - level) <= AT_CHANCE)


def _never_fell(curve: LossCurve) -> bool:
    if curve.noise > CALM:
        return False
    medians = curve.blocks.medians
    third = max(1, medians.size // 3)
    start = max(float(curve.level[0]), curve.first)
    fell = start - float(smooth(medians, 5).min())
    moved = abs(float(np.median(medians[:third]) - np.median(medians[-third:])))
    return bool(
        fell <= max(FLAT, 2.5 * curve.noise) + 2 * _error(curve)
        and moved <= FLAT
        and (mann_kendall(medians, 0.5) > -3 or moved <= FLAT / 3)
    )


def _error(curve: LossCurve) -> float:
    return curve.noise / math.sqrt(curve.blocks.size)


def _classes(loss: float) -> int:
    """The common number of classes whose logarithm a loss is, within 1 %; 0 where there is none."""
    return next((count for count in COUNTS if abs(loss / math.log(count) - 1) <= 0.01), 0)
