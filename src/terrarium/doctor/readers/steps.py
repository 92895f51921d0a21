"""Which column counts the steps of a history, and what replaces it where none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from terrarium.doctor.history import FloatArray

OFTEN = 0.5  # share of the best-filled counter's rows that a counter must have
MOST_RETURNS = 20  # a counter that goes back more often starts anew with every epoch
LARGEST_STEP = 2.0**53


def choose_steps(
    columns: Mapping[str, FloatArray], counters: Sequence[str], epochs: Sequence[str], rows: int
) -> tuple[str, FloatArray, str]:
    """The steps of a history.

    Args:
        columns: name -> values [rows].
        counters: columns that may count steps, the best first.
        epochs: columns that may count epochs, the best first.
        rows: how many there are.

    Returns:
        The column's name, or ""; a finite step of each row [rows]; and "step", or what stands in for it:
        "epoch" where rows are epochs, "row" for the place in the file.
    """
    filled = {name: int(_valid(columns[name]).sum()) for name in counters}
    often = [name for name in counters if filled[name] and filled[name] >= OFTEN * max(filled.values())]
    steady = [name for name in often if _returns(columns[name]) <= max(MOST_RETURNS, 0.01 * filled[name])]
    if steady:
        return steady[0], fill_steps(columns[steady[0]]), "step"
    for name in epochs:
        epoch = columns[name]
        if rows > 1 and _valid(epoch).all() and (epoch % 1 == 0).all() and (np.diff(epoch) > 0).all():
            return name, epoch, "epoch"
    return "", np.arange(rows, dtype=np.float64), "row"


def fill_steps(steps: FloatArray) -> FloatArray:
    """Whole steps [rows]: a row without one belongs to the step before, or, before any, to its place."""
    valid = _valid(steps)
    places = np.arange(steps.size)
    before = np.maximum.accumulate(np.where(valid, places, -1))
    filled = np.floor(np.where(valid, steps, 0.0))[before]
    first = filled[before >= 0][:1]
    return np.where(before >= 0, filled, np.minimum(places, first) if first.size else places)


def _valid(steps: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray((steps >= 0) & (steps < LARGEST_STEP))


def _returns(steps: FloatArray) -> int:
    return int(np.count_nonzero(np.diff(steps[_valid(steps)]) < 0))
