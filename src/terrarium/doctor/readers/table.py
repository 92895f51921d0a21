"""Rows read from a file, before they are a history: columns under the file's own names, within bounds.

One number says what a row has in a column: a finite value; NaN where the row has nothing there; +inf where
it logged NaN; -inf where it logged an infinity. So nothing that is not finite is ever taken for a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.readers.names import LONGEST_COLUMN, importance, recognise

ABSENT, LOGGED_NAN, LOGGED_INFINITY = math.nan, math.inf, -math.inf

MOST_ROWS = 4_000_000
MOST_COLUMNS = 64
"""How many known columns are kept, and as many of all others."""
MOST_CELLS = 32_000_000
FEWEST_COLUMNS = 8
MOST_NAMES = 4096
DEEPEST = 4
LONGEST_NUMBER = 64


@dataclass
class Table:
    """Rows that have been read so far.

    Attributes:
        wanted: columns that are kept whatever they are called.
        null_is_bad: whether null is a number that is not finite, as in our own histories; elsewhere a gap.
        chunks: column -> values, in pieces that add up to `rows`.
        rows: so far.
        damaged: lines or records that could not be read.
        lost_bytes: bytes passed over with them.
        full: whether there were more rows than are kept.
    """

    wanted: frozenset[str] = frozenset()
    null_is_bad: bool = False
    chunks: dict[str, list[FloatArray]] = field(default_factory=dict)
    rows: int = 0
    damaged: int = 0
    lost_bytes: int = 0
    full: bool = False
    _keeps: dict[str, bool] = field(default_factory=dict)

    def lose(self, count: int, size: int = 0) -> None:
        """Count what could not be read."""
        self.damaged += count
        self.lost_bytes += size

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows as they are in JSON; a nested object's values are named `outer/inner`."""
        self.add_columns(self._columns(rows, "", 0), len(rows))

    def _columns(self, rows: Sequence[Mapping[str, Any]], prefix: str, depth: int) -> dict[str, FloatArray]:
        columns: dict[str, FloatArray] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            full_name = f"{prefix}{name}"
            values = [row.get(name) for row in rows]
            types = set(map(type, values))
            if dict in types and depth < DEEPEST and len(full_name) <= LONGEST_COLUMN:
                inner = [value if isinstance(value, dict) else {} for value in values]
                columns |= self._columns(inner, f"{full_name}/", depth + 1)
            told = types & {int, float, str} or (self.null_is_bad and recognise(full_name))
            if told and self.keeps(full_name):
                columns[full_name] = self._numbers(name, values, rows)
        return columns

    def _numbers(self, name: str, values: list[Any], rows: Sequence[Mapping[str, Any]]) -> FloatArray:
        column = numbers(values, name)
        if self.null_is_bad and recognise(name):
            for index in np.flatnonzero(np.isnan(column)).tolist():
                column[index] = LOGGED_NAN if name in rows[index] else ABSENT
        return column

    def add_columns(self, columns: Mapping[str, FloatArray], rows: int) -> None:
        """Take `rows` rows as columns [rows], coded as the module says."""
        if self.rows + rows > MOST_ROWS:
            self.full = True
            self.lose(rows)
            return
        for name, values in columns.items():
            if self.keeps(name):
                chunks = self.chunks.setdefault(name, [np.full(self.rows, ABSENT)] if self.rows else [])
                chunks.append(values)
        self.rows += rows
        for name in self.chunks.keys() - columns.keys():
            self.chunks[name].append(np.full(rows, ABSENT))
        self._stay_within_bounds()

    def keeps(self, name: str) -> bool:
        """Whether a column of this name is kept; the first ones are, within bounds."""
        kept = self._keeps.get(name)
        if kept is None:
            if len(self._keeps) >= MOST_NAMES:
                return False
            known = recognise(name.removesuffix("_text")) is not None
            same_kind = sum(
                (recognise(other.removesuffix("_text")) is not None) == known for other in self.chunks
            )
            kept = name in self.wanted or (len(name) <= LONGEST_COLUMN and same_kind < MOST_COLUMNS)
            self._keeps[name] = kept
        return kept

    def _stay_within_bounds(self) -> None:
        excess = len(self.chunks) - max(FEWEST_COLUMNS, MOST_CELLS // max(1, self.rows))
        if excess > 0:
            for name in self._by_importance()[-excess:]:
                del self.chunks[name]
                self._keeps[name] = False

    def _by_importance(self) -> list[str]:
        return sorted(self.chunks, key=lambda name: -1 if name in self.wanted else importance(name))

    def take_columns(self) -> dict[str, FloatArray]:
        """Name -> values [rows], coded as the module says; the table is empty afterwards."""
        columns = {name: np.concatenate(self.chunks.pop(name)) for name in list(self.chunks)}
        for name in [name for name in columns if name.endswith("_text")]:
            told = columns.get(name.removesuffix("_text"))
            if told is not None:  # our own spelling: null beside `loss_text`
                texts = columns.pop(name)
                bad = np.isinf(texts) & ~np.isfinite(told)
                told[bad] = texts[bad]
        return {name: values for name, values in columns.items() if not np.isnan(values).all()}


def history_of(columns: Mapping[str, FloatArray], table: Table) -> History:
    """A history of columns coded as the module says; "step" is among them and finite."""
    bad = {name: np.isinf(values) for name, values in columns.items()}
    finite = {name: np.where(bad[name], np.nan, values) for name, values in columns.items()}
    return History(
        {name: values for name, values in finite.items() if name == "step" or not np.isnan(values).all()},
        {name: rows for name, rows in bad.items() if rows.any()},
        table.damaged,
        table.lost_bytes,
    )


def numbers(values: Iterable[Any], name: str = "") -> FloatArray:
    """Values of JSON [N], or texts, as numbers [N] coded as the module says.

    Args:
        values: numbers, texts that spell one, None or anything else, which is a gap.
        name: the column's: one of a time may hold dates in ISO 8601, which become seconds since 1970.
    """
    values = list(values)
    types = set(map(type, values))
    if types <= {int, float, type(None)}:
        floats = _plain_numbers(values)
    else:
        floats = _plain_texts(values) if types <= {str, type(None)} else None
    known = recognise(name)
    is_time = known is not None and known[0] == "timestamp"
    if floats is None:
        return np.array([_number(value, is_time) for value in values], dtype=np.float64)
    for index in np.flatnonzero(~np.isfinite(floats)).tolist():
        floats[index] = _number(values[index], is_time)
    return floats


def _plain_numbers(values: list[float | None]) -> FloatArray | None:
    """Numbers, NaN for None; None where one is too large for a float."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return None


def _plain_texts(values: list[str | None]) -> FloatArray | None:
    """Texts that all spell a number or are blank, NaN for blanks; None where one is anything else."""
    try:
        return np.array([float(value) if value else math.nan for value in values], dtype=np.float64)
    except ValueError:
        return None


def _number(value: Any, is_time: bool) -> float:
    if isinstance(value, str):
        return _spelled(value, is_time)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    try:
        return coded(float(value))
    except OverflowError:
        return LOGGED_INFINITY


def _spelled(text: str, is_time: bool) -> float:
    if not text or len(text) > LONGEST_NUMBER:
        return ABSENT
    try:
        return coded(float(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip().replace(",", ".")).timestamp() if is_time else ABSENT
    except (ValueError, OverflowError, OSError):
        return ABSENT


def coded(value: float) -> float:
    """A float that was logged, coded as the module says."""
    if math.isfinite(value):
        return value
    return LOGGED_NAN if math.isnan(value) else LOGGED_INFINITY
