"""Joins rows of the same step: most loggers write what they measure piece by piece."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray

DECIDING = ("loss", "validation_loss")


def join_same_steps(columns: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """Join rows of one step, and order them by step between the places where training went back.

    Training went back, or a step was taken twice, where the loss (else any column) is logged for a step that
    is not above the one it was logged for before. Rows on either side of such a place are never joined.

    Args:
        columns: name -> values [rows], coded as in `table`; "step" is there and finite.

    Returns:
        Columns [joined rows]; of several values for one step the first one counts.
    """
    steps = columns["step"]
    if steps.size < 2 or (np.diff(steps) > 0).all():
        return columns
    lap = _laps(columns)
    rows = np.arange(steps.size)
    order = np.lexsort((rows, steps, lap))
    new = np.append(True, (np.diff(steps[order]) > 0) | (np.diff(lap[order]) > 0))
    if new.all() and np.array_equal(order, rows):
        return columns
    target = np.empty(steps.size, dtype=np.int64)
    target[order] = np.cumsum(new) - 1
    first_row = order[new]
    joined = {name: _first_values(values, target, first_row.size) for name, values in columns.items()}
    if "runtime" in joined:  # of a row that was logged late the clock says nothing about its step
        joined["runtime"][first_row < np.maximum.accumulate(first_row)] = np.nan
    return joined


def _laps(columns: dict[str, FloatArray]) -> NDArray[np.int64]:
    """How often training had gone back before each row [rows]."""
    deciding = [name for name in DECIDING if name in columns and not np.isnan(columns[name]).all()][:1]
    back = np.zeros(columns["step"].size, dtype=np.bool_)
    for name in deciding or columns.keys() - {"step", "runtime", "timestamp", "epoch"}:
        logged = np.flatnonzero(~np.isnan(columns[name]))
        back[logged[1:][np.diff(columns["step"][logged]) <= 0]] = True
    return np.cumsum(back)


def _first_values(values: FloatArray, target: NDArray[np.int64], rows: int) -> FloatArray:
    joined = np.full(rows, np.nan)
    logged = np.flatnonzero(~np.isnan(values))[::-1]
    joined[target[logged]] = values[logged]  # the last assignment stays: the first value
    return joined
