"""Histories in JSON lines; a million rows take seconds and some hundred megabytes.

Training reads rows, one dictionary each, by `terrarium.run.history`; here only columns are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers.steps import fill_steps
from terrarium.doctor.readers.table import Table, history_of
from terrarium.doctor.readers.text_lines import lines, open_text

ROWS_AT_ONCE = 10_000
CHARACTERS_AT_ONCE = 2**22


def read_history(path: Path) -> History:
    """Read the columns of a `history.jsonl` of ours, whatever state it is in.

    Args:
        path: the file; damaged lines are counted and passed over.

    Returns:
        The history; its numbers keep the order of the rows.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    table = Table(null_is_bad=True)
    with open_text(path) as text:
        read_json_lines(lines(text, table), table)
    columns = table.take_columns()
    columns["step"] = fill_steps(columns.get("step", np.full(table.rows, np.nan)))
    return history_of(columns, table)


def read_json_lines(texts: Iterable[str], table: Table) -> None:
    """Add the rows of a file in JSON lines to a table; lines that are no rows are counted."""
    waiting: list[str] = []
    size = 0
    for line in texts:
        waiting.append(line)
        size += len(line)
        if len(waiting) >= ROWS_AT_ONCE or size >= CHARACTERS_AT_ONCE:
            table.add_rows(_rows(waiting, table))
            waiting, size = [], 0
    table.add_rows(_rows(waiting, table))


def _rows(waiting: list[str], table: Table) -> list[JsonObject]:
    found = [(row_of(line), line) for line in waiting]
    for row, line in found:
        if row is None:
            table.lose(1, len(line.encode(errors="replace")))
    return [row for row, _ in found if row is not None]


def row_of(text: str) -> JsonObject | None:
    """A JSON object that is not empty, or None where `text` is anything else."""
    try:
        row: Any = from_json(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and row else None


def count_reasons(path: Path, most_reasons: int = 20) -> dict[str, int]:
    """Count the rows of a `history.discarded.jsonl` by their reason, the most frequent first.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    counts: Counter[str] = Counter()
    with open_text(path) as text:
        for line in lines(text, Table()):
            row = row_of(line)
            if row is not None:
                reason = str(row.get("reason", "no reason given"))[:200]
                counts[reason if len(counts) < 1000 else "other reasons"] += 1
    frequent = counts.most_common(most_reasons)
    rest = counts.total() - sum(count for _, count in frequent)
    return dict(frequent) | ({"other reasons": rest} if rest else {})
