"""Memory: does training take more and more of it, and when will it run out?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians, block_rows, spread
from terrarium.doctor.statistics.trend import mann_kendall, theil_sen

LEAST_ROWS = 100  # in one process
WARM = 0.25  # of them: buffers, caches and the first picture, gate and save
LEAST_BLOCKS = 12
LEAST_TREND = 4.0  # normal score of Mann-Kendall
CLEAR = 8.0  # standard deviations about the line that the growth must be: memory that wanders shows three
LEAST_MIB, LEAST_SHARE = 32.0, 0.05  # growth of less, in the rows that are looked at, is no news
STEADY = 0.5  # of the slope of the first half that the second half must still have: a cache that fills slows


@dataclass(frozen=True)
class Growth:
    """Memory that grows steadily.

    Attributes:
        first_step: from which on it is looked at.
        last_step: the last one.
        begin: MiB at the first step.
        end: MiB at the last.
        per_step: MiB.
    """

    first_step: int
    last_step: int
    begin: float
    end: float
    per_step: float


def memory_growing(stage: StageEvidence) -> Iterator[Finding]:
    """Training takes more and more memory.

    Looks for: memory of the process (column `process_memory`) that rises steadily over the last three
    quarters of the rows since the process began, by 5 % and 32 MiB or more, and in their second half at
    least half as fast as in the first. Where what is left (`memory_left`) will not last until the planned
    end, or, without a plan, as long again as the run has taken so far, this is to be watched.

    Why it matters: when none is left the system kills the process; before that it swaps, and everything
    becomes slow.

    What to do: find what is kept from step to step: losses with their graphs in a list, a cache
    without a bound, hooks that are added again and again. Until it is found, resume in a new process
    before it ends: that costs only the start.

    Silent when: memory is not logged, there are under 100 rows since the last restart that the history
    shows, it grows ever more slowly, falls back now and then, or grows by steps with rests between them.
    """
    steps_N, used_N = stage.series("process_memory")
    own = steps_N >= _of_this_process(stage)
    growth = _growth(steps_N[own], used_N[own])
    if growth is None:
        return
    _, left_N = stage.series("memory_left")
    left = float(np.median(left_N[-10:])) if left_N.size else None
    until = None if left is None else left / growth.per_step
    planned = stage.plan.steps
    due = planned - growth.last_step - 1 if planned else growth.last_step
    values: dict[str, float | str] = {
        "begin": growth.begin,
        "end": growth.end,
        "per_thousand": 1000 * growth.per_step,
        "first_step": growth.first_step,
        "last_step": growth.last_step,
    }
    if left is not None and until is not None:
        values |= {"left": left, "lasts": until, "out_step": growth.last_step + until}
    short = until is not None and until < due
    yield Finding(
        "memory-growing",
        Severity.WATCH if short else Severity.INFO,
        stage.name,
        growth.first_step,
        growth.last_step,
        (
            Number(stage.source, "growth of memory in 1,000 steps", 1000 * growth.per_step, None, "MiB"),
            *([] if until is None else [Number(stage.source, "steps until there is none left", until, due)]),
        ),
        values,
        confidence=0.85,
        actions=("find-the-leak", "restart-from-checkpoint") if short else (),
    )


def _growth(steps_N: FloatArray, used_N: FloatArray) -> Growth | None:
    """How the memory of one process grows, or None where it does not."""
    if used_N.size < LEAST_ROWS:
        return None
    warm = round(WARM * used_N.size)
    steps, used = steps_N[warm:], used_N[warm:]
    blocks = block_medians(used, block_rows(used.size))
    times, levels = steps[blocks.starts], blocks.medians
    if levels.size < LEAST_BLOCKS or not _rises(times, levels):
        return None
    slope = theil_sen(times, levels).middle
    grown = slope * float(steps[-1] - steps[0])
    if grown < max(LEAST_MIB, LEAST_SHARE * float(levels[0])):
        return None
    return Growth(int(steps[0]), int(steps[-1]), float(levels[0]), float(levels[-1]), slope)


def _rises(times_K: FloatArray, levels_K: FloatArray) -> bool:
    """Whether levels rise beyond doubt, and in their second half still as they did in the first."""
    whole = theil_sen(times_K, levels_K)
    unrest = spread(levels_K - whole.middle * times_K)
    clear = whole.middle * float(times_K[-1] - times_K[0]) >= CLEAR * unrest
    if not clear or mann_kendall(levels_K) < LEAST_TREND:
        return False
    half = levels_K.size // 2
    first, second = theil_sen(times_K[:half], levels_K[:half]), theil_sen(times_K[half:], levels_K[half:])
    return second.low > 0 and second.middle >= STEADY * first.middle


def _of_this_process(stage: StageEvidence) -> float:
    """The step at which the process began that logged the last row, as far as the history shows it."""
    restarts = stage.history.restarts if stage.history is not None else ()
    return float(restarts[-1].step) if restarts else 0.0
