"""How fast a stage trains: the time between its rows, leaving out times in which nothing trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray, History

RECENT_STEPS = 5000


@dataclass(frozen=True, eq=False)
class Pace:
    """The intervals between neighbouring rows, without those over a restart or without a step.

    Attributes:
        rows_N: row that ends each interval, an index into the raw rows [N].
        from_N: step at its beginning [N].
        to_N: step at its end, greater [N].
        seconds_N: its length, greater than 0 [N].
    """

    rows_N: NDArray[np.int64]
    from_N: FloatArray
    to_N: FloatArray
    seconds_N: FloatArray

    @staticmethod
    def of(history: History | None) -> Pace:
        """The pace of a history; without intervals where it has no clock."""
        clock = None if history is None else history.column("runtime")
        if history is None or clock is None:
            return Pace(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
        rows = np.flatnonzero(np.isfinite(clock))
        steps, times = history.steps[rows], clock[rows]
        restarts = np.array([restart.row for restart in history.restarts], dtype=np.int64)
        over = np.searchsorted(restarts, rows[1:], "right") > np.searchsorted(restarts, rows[:-1], "right")
        use = ~over & (np.diff(steps) > 0) & (np.diff(times) > 0)
        return Pace(rows[1:][use], steps[:-1][use], steps[1:][use], np.diff(times)[use])

    @property
    def intervals(self) -> int:
        """N."""
        return self.rows_N.size

    @cached_property
    def per_step_N(self) -> FloatArray:
        """Seconds per step of each interval [N]."""
        return self.seconds_N / (self.to_N - self.from_N)

    @cached_property
    def typical_gap(self) -> float:
        """Seconds from row to row, the median; NaN without intervals."""
        return float(np.median(self.seconds_N)) if self.intervals else math.nan

    def speed(self, since: float = -math.inf) -> float | None:
        """Steps per second over the intervals that begin at or after a step, pauses included."""
        late = self.from_N >= since
        seconds = float(self.seconds_N[late].sum())
        return float((self.to_N - self.from_N)[late].sum()) / seconds if seconds > 0 else None

    @property
    def recent_speed(self) -> float | None:
        """Steps per second over the last 5,000 steps, or the last quarter of fewer than 20,000."""
        if not self.intervals:
            return None
        span = float(self.to_N.max() - self.from_N.min())
        return self.speed(float(self.to_N.max()) - min(RECENT_STEPS, math.ceil(span / 4)))
