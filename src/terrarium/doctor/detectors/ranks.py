"""Several processes: do they have data of their own, keep pace with each other, and agree on the time?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.detectors.rank_chance import Repeats, find_repeats
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.ranks import Stretch, Together, middle
from terrarium.doctor.statistics.blocks import block_medians, block_rows

HALF = 0.5
TOGETHER = 5  # steps whose mean is taken before medians are, so that a rank that stutters counts
LEAST_STEPS = 20
FEWEST_BLOCKS, LASTING = 3, 0.1  # at the end: blocks, and their share of all
MOSTLY = 0.9  # of the blocks since it began
LATE_TIMES = 1.5  # the time of the rank in the middle
LATE_SHARE = 0.1  # of a step
LEAST_LOST = 1.0  # seconds in all: less is nobody's concern
APART, FAR_APART = 1.0, 10.0  # seconds that clocks differ for sure
MOST_NAMED = 8


def ranks_share_clips(stage: StageEvidence) -> Iterator[Finding]:
    """Processes that train together had the same clips.

    Looks for: a stretch of steps in which a rank had the very clips of another one about half of the time or
    more, and far more often than chance would have it on this footage.

    Why it matters: the mean over processes is then a mean of copies. All but one of them work for nothing,
    the batch is smaller than was asked for, and no loss shows it.

    What to do: let each process draw from a seed of its own (the run's seed and its rank), or let all draw
    the same batch and each take its share of the rows, as Terrarium does. Then train the stage again: a
    learning rate that suits the larger batch was wrong for this one.

    Silent when: the footage holds so few clips that ranks meet by chance, nothing says which clips a rank
    had, or there are under six steps.
    """
    together = stage.ranks
    found = [] if together is None else [(find_repeats(each), each) for each in together.stretches]
    for repeats, stretch in reversed(found):
        if together is not None and repeats is not None:
            yield _same_clips(stage, together, stretch, repeats)
            return


def _same_clips(stage: StageEvidence, together: Together, stretch: Stretch, repeats: Repeats) -> Finding:
    first, last = int(stretch.steps_N[repeats.begin]), int(stretch.steps_N[repeats.end - 1])
    lasts = stretch is together.latest and repeats.end > (1 - LASTING) * stretch.steps_N.size
    wasted = repeats.different <= HALF * stretch.count
    values: dict[str, float | str] = {"ranks": _named(repeats.ranks), "processes": stretch.count}
    values |= {"met": repeats.met, "total": repeats.steps, "chance": 100 * repeats.chance}
    values |= {"first_step": first, "last_step": last}
    return Finding(
        "ranks-share-clips",
        Severity.CRITICAL if lasts and wasted else Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(together.source, "steps in which ranks had the same clips", repeats.met, None, "steps"),
            Number(together.source, "their share", repeats.met / repeats.steps, repeats.chance, "ratio"),
        ),
        values | {"different": repeats.different},
        confidence=0.95,
        actions=("draw-by-rank",),
    )


def rank_slower(stage: StageEvidence) -> Iterator[Finding]:
    """The others wait for a process that is always late.

    Looks for: a rank that is ready for the first sum of a step 1.5 times as late as the rank in the middle,
    by a tenth of a step or more, in nine tenths of the blocks of steps up to the end; since when, and at
    what cost. Times are means of five steps and medians of these, pauses cut off.

    Why it matters: all go at the pace of the slowest. One that takes twice as long halves the speed of
    all.

    What to do: look at the machine of that rank: who else uses it, its heat and clock, its disk and its
    network; compare the time of its loader alone with that of another rank. Move the process, or train
    without it.

    Silent when: ranks are late by turns, the late one has caught up, only the first is late where it draws,
    saves or asks the doctor, less than a second was lost in all, or there are under 20 steps. A rank that is
    slow after the first sum only (in the backward pass) is not seen here.
    """
    together = stage.ranks
    late = [] if together is None else _late(together.latest)
    if together is None or not late:
        return
    worst = max(late, key=lambda one: one.seconds)
    stretch = together.latest
    steps = stretch.steps_N[stretch.timed_M]
    first, last = int(steps[worst.row]), int(steps[-1])
    share = min(1.0, worst.seconds / stretch.step_seconds)
    values: dict[str, float | str] = {"rank": worst.rank, "ranks": _named([one.rank for one in late])}
    values |= {"others": len(late) - 1} if len(late) > 1 else {}
    values |= {"times": worst.times, "percent": 100 * share, "milliseconds": 1000 * worst.seconds}
    yield Finding(
        "rank-slower",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(together.source, "time until ready over the others'", worst.times, LATE_TIMES, "ratio"),
            Number(together.source, "share of a step that the others wait", share, LATE_SHARE, "ratio"),
            Number(together.source, "seconds lost in all", worst.lost, LEAST_LOST, "s"),
        ),
        values | {"lost_seconds": worst.lost, "first_step": first, "last_step": last},
        confidence=0.85,
        actions=("look-at-rank",),
    )


class _Late(NamedTuple):
    """A rank that is late: from which timed row on, how many times as slow, by how much, in all (seconds)."""

    rank: int
    row: int
    times: float
    seconds: float
    lost: float


def _late(stretch: Stretch) -> list[_Late]:
    usual_MR = stretch.usual_MR
    groups = len(usual_MR) // TOGETHER
    if len(usual_MR) < LEAST_STEPS or not math.isfinite(stretch.step_seconds):
        return []
    spare = len(usual_MR) - groups * TOGETHER
    means_GR = usual_MR[spare:].reshape(groups, TOGETHER, -1).mean(axis=1)
    size = block_rows(groups)
    cut = [block_medians(means_GR[:, rank], size) for rank in range(stretch.count)]
    blocks_BR = np.stack([blocks.medians for blocks in cut], axis=1)
    usual_B = np.partition(blocks_BR, (stretch.count - 1) // 2, axis=1)[:, (stretch.count - 1) // 2]
    more_BR = blocks_BR - usual_B[:, None]
    is_late_BR = (blocks_BR >= LATE_TIMES * usual_B[:, None]) & (more_BR >= LATE_SHARE * stretch.step_seconds)
    late = []
    for rank in range(stretch.count):
        begin = _since(is_late_BR[:, rank])
        if begin is None:
            continue
        row = 0 if begin == 0 else spare + TOGETHER * cut[rank].row(begin)
        more = float(np.mean(more_BR[begin:, rank]))
        times = float(np.median(blocks_BR[begin:, rank]) / max(np.median(usual_B[begin:]), 1e-9))
        late.append(_Late(rank, row, times, more, more * (len(usual_MR) - row)))
    return [one for one in late if one.lost >= LEAST_LOST]


def _since(is_so_B: NDArray[np.bool_]) -> int | None:
    """The block from which on it is mostly so up to the end; None where that is not long."""
    ends = np.cumsum(is_so_B[::-1])[::-1] / np.arange(is_so_B.size, 0, -1)
    begins = np.flatnonzero(is_so_B & (ends >= MOSTLY))
    if not begins.size or not is_so_B[-FEWEST_BLOCKS:].all():
        return None
    lasts = is_so_B.size - int(begins[0])
    return int(begins[0]) if lasts >= max(FEWEST_BLOCKS, LASTING * is_so_B.size) else None


def rank_clocks_differ(stage: StageEvidence) -> Iterator[Finding]:
    """The clocks of processes that train together differ.

    Looks for: a rank whose wall clock is a second or more ahead of the others' or behind, up to the end.
    Processes may read their clocks up to two steps apart because they wait for each other; what differs by
    more is the clock's fault.

    Why it matters: training itself counts on steps and on clocks that nobody sets, and is not harmed. But
    logs of several machines are put in order by these clocks, and leases, timeouts and certificates rest on
    them; then what came first seems to have come last.

    What to do: let every machine set its clock by the same server (`chronyc tracking`, `timedatectl`).

    Silent when: they differ by less than a second or by less than what a step takes, or agree again. Where
    they differ by less than ten seconds it is only mentioned.
    """
    together = stage.ranks
    if together is None or together.latest.steps_N.size < LEAST_STEPS:
        return
    stretch = together.latest
    sure_NR = _sure_skew(stretch.clock_NR)
    apart = [(rank, found) for rank in range(stretch.count) if (found := _apart(sure_NR[:, rank]))]
    if not apart:
        return
    rank, (row, sure) = max(apart, key=lambda one: abs(one[1][1]))
    ahead = float(np.nanmedian(stretch.clock_NR[row:, rank] - middle(stretch.clock_NR)[row:]))
    first, last = int(stretch.steps_N[row]), int(stretch.steps_N[-1])
    values: dict[str, float | str] = {"rank": rank, "ranks": _named([each for each, _ in apart])}
    values |= {"ahead" if ahead > 0 else "behind": abs(ahead)}
    yield Finding(
        "rank-clocks-differ",
        Severity.WATCH if abs(sure) >= FAR_APART else Severity.INFO,
        stage.name,
        first,
        last,
        (Number(together.source, "seconds that a clock is off, at least", abs(sure), APART, "s"),),
        values | {"first_step": first, "last_step": last},
        confidence=0.9,
        actions=("set-clocks",),
    )


def _sure_skew(clock_NR: FloatArray) -> FloatArray:
    """Seconds that a clock is ahead for sure [N - 1, R]; below 0 where it is behind, 0 where nothing is sure.

    It is read after all have left the step before, and before anybody enters the step after: ahead is what
    it shows beyond the others' clocks one step later, and behind likewise.
    """
    middle_N1 = middle(clock_NR)[:, None]
    ahead, behind = clock_NR[:-1] - middle_N1[1:], clock_NR[1:] - middle_N1[:-1]
    return np.where(np.isfinite(ahead + behind), np.maximum(ahead, 0.0) + np.minimum(behind, 0.0), 0.0)


def _apart(sure_N: FloatArray) -> tuple[int, float] | None:
    """(row, seconds): since when a clock is off up to the end, and by how much at least."""
    blocks = block_medians(sure_N, block_rows(sure_N.size))
    begin = _since(np.abs(blocks.medians) >= APART)
    if begin is None:
        return None
    return blocks.row(begin), float(np.median(blocks.medians[begin:]))


def _named(ranks: list[int]) -> str:
    """Ranks by number, not too many of them."""
    more = f" (+{len(ranks) - MOST_NAMED})" if len(ranks) > MOST_NAMED else ""
    return ", ".join(map(str, ranks[:MOST_NAMED])) + more
