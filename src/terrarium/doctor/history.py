"""A stage's history as columns. Readers make it from any format; training's own reader is in `run`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

STRAY_ROWS = 3  # fewer rows than this that step back are strays, not a restart
MOST_DESCENTS = 10_000  # more than this are not restarts: the rows are simply not in order


@dataclass(frozen=True)
class Restart:
    """A place in a history where training went on from an earlier state, or in a new process.

    Attributes:
        row: the first row after it, an index into the raw rows.
        step: of that row.
        last_step: the highest step before it.
        known_by: "step" if the steps went back, "runtime" if only the clock did.
    """

    row: int
    step: int
    last_step: int
    known_by: str


@dataclass(frozen=True, eq=False)
class History:
    """The rows of one stage, column by column, in the order in which they were logged.

    Attributes:
        columns: name -> values [rows]; NaN where a row has no finite number under that name. "step" is
            always there and finite; columns without any number are left out. Names that are known, whatever
            they were called in the file: step, runtime (seconds), loss, validation_loss, learning_rate,
            grad_norm, frames_per_second, action_entropy (nats), unique_actions, codebook_usage (a fraction),
            accuracy, device_use (a fraction). All others keep their own.
        not_finite: name -> rows [rows] that logged a number there which is not finite (NaN, infinity); only
            columns that have such rows.
        damaged: lines or records that could not be read.
        lost_bytes: bytes passed over with them, where the format can tell.
    """

    columns: dict[str, FloatArray]
    not_finite: dict[str, BoolArray] = field(default_factory=dict)
    damaged: int = 0
    lost_bytes: int = 0

    @staticmethod
    def empty() -> History:
        """A history without rows."""
        return History({"step": np.zeros(0)})

    @property
    def rows(self) -> int:
        """Rows that could be read."""
        return len(self.columns["step"])

    @property
    def steps(self) -> FloatArray:
        """Step of each row [rows]."""
        return self.columns["step"]

    def column(self, name: str) -> FloatArray | None:
        """Values [rows] of one column, or None where no row has it."""
        return self.columns.get(name)

    def series(self, name: str) -> tuple[FloatArray, FloatArray]:
        """(steps, values) [N] of the rows with a finite number under `name`, in the order of the rows."""
        values = self.columns.get(name)
        if values is None:
            return np.zeros(0), np.zeros(0)
        there = np.isfinite(values)
        return self.steps[there], values[there]

    def kept(self) -> History:
        """The rows that still count, by rising step: of a step that was taken twice, the later row."""
        keep = self._kept_rows
        if keep.size == self.rows and np.array_equal(keep, np.arange(self.rows)):
            return self
        return History(
            {name: values[keep] for name, values in self.columns.items()},
            {name: rows[keep] for name, rows in self.not_finite.items()},
            self.damaged,
            self.lost_bytes,
        )

    @cached_property
    def restarts(self) -> tuple[Restart, ...]:
        """Where training went on from an earlier state or in a new process, in the order of the rows."""
        if self.rows < 2 or self._descents.size > MOST_DESCENTS:
            return ()
        highest = np.maximum.accumulate(self.steps)
        rows = {int(row): "step" for row in self._descents if row not in self._strays}
        clock = self.columns.get("runtime")
        if clock is not None:
            timed = np.flatnonzero(np.isfinite(clock))
            for row in timed[1:][np.diff(clock[timed]) < 0][:MOST_DESCENTS]:
                rows.setdefault(int(row), "runtime")
        return tuple(
            Restart(row, int(self.steps[row]), int(highest[row - 1]), rows[row])
            for row in sorted(rows)
            if row not in self._after_strays
        )

    @cached_property
    def _descents(self) -> NDArray[np.int64]:
        """Rows [D] whose step is not above the one before."""
        return np.flatnonzero(np.diff(self.steps) <= 0) + 1

    @cached_property
    def _strays(self) -> frozenset[int]:
        """Rows out of order: a few that step back, after which the former steps go on."""
        if self._descents.size > MOST_DESCENTS:
            return frozenset()
        highest = np.maximum.accumulate(self.steps)
        stray: set[int] = set()
        for row in map(int, self._descents):
            after = self.steps[row : row + STRAY_ROWS + 1]
            ahead = np.flatnonzero(after > highest[row - 1])
            if ahead.size and ahead[0] < STRAY_ROWS and self.steps[row + ahead[0]] - highest[row - 1] >= 1:
                stray |= set(range(row, row + int(ahead[0])))
        return frozenset(stray)

    @cached_property
    def _after_strays(self) -> frozenset[int]:
        return frozenset(row + 1 for row in self._strays) | self._strays

    @cached_property
    def _kept_rows(self) -> NDArray[np.int64]:
        rows = np.arange(self.rows)
        if self._descents.size == 0:
            return rows
        if self._descents.size > MOST_DESCENTS:
            order = np.argsort(self.steps, kind="stable")
            last_of_step = np.append(np.diff(self.steps[order]) > 0, True)
            return np.asarray(order[last_of_step], dtype=np.int64)
        rows = rows[~np.isin(rows, list(self._strays))]
        steps = self.steps[rows]
        lowest_later = np.minimum.accumulate(np.append(steps[1:], np.inf)[::-1])[::-1]
        return rows[steps < lowest_later]
