"""Histories in JSON lines, read once into columns: a million rows take seconds and some hundred megabytes.

Training reads rows, one dictionary each, by `terrarium.run.history`; here only columns are kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.json_files import JsonObject, number
from terrarium.run import disk

LONGEST_LINE_BYTES = 2**16
ROWS_AT_ONCE = 20_000
MOST_COLUMNS = 64


@dataclass
class _Reading:
    """What has been read so far; columns are lists of chunks, each as long as its chunk of rows."""

    chunks: dict[str, list[FloatArray]] = field(default_factory=dict)
    bad_loss: list[NDArray[np.bool_]] = field(default_factory=list)
    rows: int = 0
    damaged_lines: int = 0

    def add(self, rows: list[JsonObject]) -> None:
        names = dict.fromkeys(name for row in rows for name in row)
        for name in names:
            if name in self.chunks or len(self.chunks) < MOST_COLUMNS:
                self._add_column(name, rows)
        for chunks in self.chunks.values():
            missing = self.rows + len(rows) - sum(map(len, chunks))
            if missing:
                chunks.append(np.full(missing, np.nan))
        self.bad_loss.append(_bad_loss(rows, self.chunks.get("loss")))
        self.rows += len(rows)

    def _add_column(self, name: str, rows: list[JsonObject]) -> None:
        chunks = self.chunks.setdefault(name, [np.full(self.rows, np.nan)])
        chunks.append(_floats([row.get(name) for row in rows]))

    def finish(self) -> History:
        columns = {name: np.concatenate(chunks) for name, chunks in self.chunks.items()}
        columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
        columns["step"] = _steps(columns.get("step"), self.rows)
        bad_loss = np.concatenate(self.bad_loss) if self.bad_loss else np.zeros(0, dtype=np.bool_)
        return History(columns, {"loss": bad_loss} if bad_loss.any() else {}, self.damaged_lines)


def read_history(path: Path) -> History:
    """Read the columns of a `history.jsonl`, whatever state it is in.

    Args:
        path: the file; damaged lines are counted and passed over.

    Returns:
        The history; its numbers keep the order of the rows.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    reading = _Reading()
    rows: list[JsonObject] = []
    with os.fdopen(disk.open_regular(path), "rb") as file:
        for line in _lines(file):
            row = _row(line)
            if row is None:
                reading.damaged_lines += 1
                continue
            rows.append(row)
            if len(rows) >= ROWS_AT_ONCE:
                reading.add(rows)
                rows = []
    reading.add(rows)
    return reading.finish()


def count_reasons(path: Path, most_reasons: int = 20) -> dict[str, int]:
    """Count the rows of a `history.discarded.jsonl` by their reason, the most frequent first.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    counts: Counter[str] = Counter()
    with os.fdopen(disk.open_regular(path), "rb") as file:
        for line in _lines(file):
            row = _row(line)
            if row is not None:
                reason = str(row.get("reason", "no reason given"))[:200]
                counts[reason if len(counts) < 1000 else "other reasons"] += 1
    frequent = counts.most_common(most_reasons)
    rest = counts.total() - sum(count for _, count in frequent)
    return dict(frequent) | ({"other reasons": rest} if rest else {})


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines that are not blank; one that is too long comes out in pieces, which are damage, not rows."""
    while line := file.readline(LONGEST_LINE_BYTES):
        if not line.isspace():
            yield line


def _row(line: bytes) -> JsonObject | None:
    try:
        row = from_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row else None


def _floats(values: list[object]) -> FloatArray:
    """Finite numbers [rows]; anything else (null, text, lists, infinities, too large integers) is NaN."""
    if {type(value) for value in values} <= {int, float, type(None)}:
        try:
            floats = np.array(values, dtype=np.float64)
        except OverflowError:
            pass
        else:
            return np.where(np.isfinite(floats), floats, np.nan)
    numbers = (number(value) for value in values)
    return np.array([np.nan if value is None else value for value in numbers], dtype=np.float64)


def _bad_loss(rows: list[JsonObject], chunks: list[FloatArray] | None) -> NDArray[np.bool_]:
    """Rows [rows] that have a loss, but not a finite one; a row that logged no loss is not among them."""
    if not rows or not chunks:
        return np.zeros(len(rows), dtype=np.bool_)
    bad = ~np.isfinite(chunks[-1])
    for index in np.flatnonzero(bad):
        bad[index] = "loss" in rows[index]
    return np.asarray(bad, dtype=np.bool_)


def _steps(values: FloatArray | None, rows: int) -> FloatArray:
    """Steps [rows]; where a row names none that can be, its place in the file stands in."""
    places = np.arange(rows, dtype=np.float64)
    if values is None:
        return places
    return np.where((values >= 0) & (values < 2**53), np.floor(values), places)
