"""What processes that trained together reported after each step, and what follows for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray

LONGEST = 5.0  # times a rank's own median: a longer time is a pause (a picture, a save), and counts as this
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Stretch:
    """Steps that the same number of processes took together: N of them, by R ranks.

    Attributes:
        steps_N: the steps, rising.
        ready_NR: seconds until a rank was ready for the first sum of the step; NaN where not known.
        clips_NR: a number that names the clips it had; -1 where not known.
        clock_NR: its wall clock after the step, seconds; NaN where not known.
    """

    steps_N: FloatArray
    ready_NR: FloatArray
    clips_NR: NDArray[np.int64]
    clock_NR: FloatArray

    @property
    def count(self) -> int:
        """R."""
        return int(self.ready_NR.shape[1])

    @cached_property
    def timed_M(self) -> NDArray[np.bool_]:
        """Of which steps [N] every rank said when it was ready."""
        return np.asarray(np.isfinite(self.ready_NR).all(axis=1))

    @cached_property
    def usual_MR(self) -> FloatArray:
        """`ready_NR` of the steps that were timed [M], pauses of a rank cut to five times its median."""
        ready_MR = self.ready_NR[self.timed_M]
        if not ready_MR.size:
            return ready_MR
        return np.asarray(np.minimum(ready_MR, LONGEST * np.median(ready_MR, axis=0)))

    @cached_property
    def ready_R(self) -> FloatArray:
        """Seconds until a rank was ready [R], the median; NaN where not known."""
        return np.median(self.usual_MR, axis=0) if self.usual_MR.size else np.full(self.count, np.nan)

    @cached_property
    def step_seconds(self) -> float:
        """Mean time of a step by the clocks, pauses cut to five times the median; NaN where none tells."""
        clock_N = middle(self.clock_NR)
        passed = np.diff(clock_N)[np.diff(self.steps_N) == 1]
        passed = passed[np.isfinite(passed) & (passed > 0)]
        if not passed.size:
            return float("nan")
        return float(np.minimum(passed, LONGEST * np.median(passed)).mean())

    @cached_property
    def repeated_NR(self) -> NDArray[np.bool_]:
        """Whether a rank had the same clips as another one in that step [N, R]."""
        order_NR = np.argsort(self.clips_NR, axis=1, kind="stable")
        sorted_NR = np.take_along_axis(self.clips_NR, order_NR, axis=1)
        alike = (sorted_NR[:, 1:] == sorted_NR[:, :-1]) & (sorted_NR[:, 1:] != UNKNOWN)
        no = np.zeros((len(alike), 1), bool)
        of_sorted_NR = np.hstack([no, alike]) | np.hstack([alike, no])
        repeated_NR = np.zeros(of_sorted_NR.shape, np.bool_)
        np.put_along_axis(repeated_NR, order_NR, of_sorted_NR, axis=1)
        return repeated_NR

    @cached_property
    def waiting_R(self) -> FloatArray:
        """Share of the time that a rank waited for the last one to be ready [R]; NaN where not known."""
        if not self.usual_MR.size:
            return np.full(self.count, np.nan)
        waited_MR = self.usual_MR.max(axis=1, keepdims=True) - self.usual_MR
        return np.asarray(np.minimum(waited_MR.mean(axis=0) / self.step_seconds, 1.0))

    @cached_property
    def skew_R(self) -> FloatArray:
        """Seconds that a rank's clock is ahead of the others' [R], the median; NaN where not known."""
        known = np.isfinite(self.clock_NR).all(axis=1)
        if not known.any():
            return np.full(self.count, np.nan)
        clock_MR = self.clock_NR[known]
        return np.asarray(np.median(clock_MR - middle(clock_MR)[:, None], axis=0))


def middle(values_NR: FloatArray) -> FloatArray:
    """What the rank in the middle has [N]; the first rank, where there are two."""
    count = values_NR.shape[1]
    if count == 2:
        return values_NR[:, 0]
    place = (count - 1) // 2
    return np.asarray(np.partition(values_NR, place, axis=1)[:, place])


@dataclass(frozen=True, eq=False)
class Together:
    """What processes that trained a stage together left behind.

    Attributes:
        source: the file that says it, relative to what was examined.
        stretches: by rising step; at least one. A new one begins where the number of processes changed.
        damaged: lines that could not be read.
        cut_short: whether the file has more rows, before these, than are looked at.
    """

    source: str
    stretches: tuple[Stretch, ...]
    damaged: int = 0
    cut_short: bool = False

    @property
    def latest(self) -> Stretch:
        """The steps with the number of processes that there was in the end."""
        return self.stretches[-1]

    @property
    def most(self) -> int:
        """The largest number of processes that there was."""
        return max(stretch.count for stretch in self.stretches)
