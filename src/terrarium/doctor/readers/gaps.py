"""NaN that only fills a table: "not logged in this row", as pandas writes sparse rows."""

from __future__ import annotations

import numpy as np

from terrarium.doctor.history import BoolArray, FloatArray
from terrarium.doctor.readers.table import ABSENT, LOGGED_NAN

MOST_FILLED = 0.5  # a column that is NaN in more rows than this may be a sparse one
LONGEST_LOGGED = 2.0  # mean length of its stretches of numbers
REGULAR = 0.8  # share of its distances between numbers that are the same
COMPLEMENT = 0.9  # share of rows in which exactly one of two columns has a number


def open_gaps(columns: dict[str, FloatArray]) -> None:
    """Turn NaN into gaps, in place, where it can't be a NaN that was logged.

    That is so in columns whose numbers stand alone at regular distances (a validation loss every 500 rows),
    and in their complements (a training loss that is missing in exactly those rows). A loss that becomes NaN
    does neither.

    Args:
        columns: name -> values [rows], coded as in `table`.
    """
    filled = {name: values == LOGGED_NAN for name, values in columns.items()}
    filled = {name: rows for name, rows in filled.items() if rows.any()}
    sparse = {name for name, rows in filled.items() if _is_sparse(rows)}
    for name, rows in filled.items():
        if name in sparse or any(_complement(rows, ~filled[other]) for other in sparse):
            columns[name][rows] = ABSENT


def _is_sparse(filled: BoolArray) -> bool:
    logged = np.flatnonzero(~filled)
    distances = np.diff(logged)
    stretches = 1 + int(np.count_nonzero(distances > 1))
    if stretches < 2 or filled.mean() <= MOST_FILLED or logged.size / stretches > LONGEST_LOGGED:
        return False
    apart = distances[distances > 1]
    return bool(np.count_nonzero(apart == np.median(apart)) >= REGULAR * apart.size)


def _complement(filled: BoolArray, logged: BoolArray) -> bool:
    """Whether the rows [rows] in which one column is filled are those in which another is logged."""
    both = np.count_nonzero(filled & logged)
    return bool(both >= COMPLEMENT * max(np.count_nonzero(filled), np.count_nonzero(logged)))
