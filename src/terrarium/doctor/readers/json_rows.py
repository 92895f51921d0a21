"""Histories as one JSON value: a list of rows, an object that holds one, or an object of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from pydantic_core import from_json

from terrarium.doctor.history import FloatArray
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers.names import recognise
from terrarium.doctor.readers.table import ABSENT, Table, numbers

LONGEST_ROW = 2**20
MOST_CUTS = 4
LARGEST_OBJECT = 2**25
"""Characters of an object parsed whole; a larger or a damaged one is searched for rows and columns."""
LONGEST_COLUMN = 2**27
DEEPEST_ROWS = 3

TENSORBOARD_COLUMNS = ("wall_time", "step", "value")
"""Of the lists that TensorBoard offers for download."""

_OPENING = re.compile(r"[\[{]")
_NAMED_LIST = re.compile(r'"[^"\\]{1,200}"\s*:\s*(?=\[\s*\{)')
_NUMBER = r'(?:-?[0-9]|null|NaN|-?Infinity|"-?(?:NaN|Infinity|nan|inf))'
_COLUMN = re.compile(
    rf'"([^"\\]{{1,200}})"\s*:\s*(\[(?=\s*{_NUMBER})|\{{(?=\s*"\d{{1,20}}"\s*:\s*{_NUMBER}))([^\[\]{{}}]*)'
)

_PLACE = re.compile(r"line 1 column (\d+)$")


def read_json(texts: Iterator[str], table: Table) -> JsonObject:
    """Add the rows of a JSON value to a table; rows that can't be read are counted.

    Args:
        texts: the file in blocks of some megabytes.
        table: where the rows go.

    Returns:
        Plain settings that stand beside the rows, such as `max_steps` in a Hugging Face `trainer_state.json`.
    """
    start = next(texts, "").lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        _read_list(chain([start], texts), table)
        return {}
    while len(start) < LARGEST_OBJECT and (text := next(texts, "")):
        start += text
    whole = _object(start) if len(start) < LARGEST_OBJECT else {}
    rows = max(_lists_of_rows(whole), key=len, default=[])
    if rows:
        _add(rows, table)
        return {name: value for name, value in whole.items() if isinstance(value, str | int | float)}
    named = None if whole else _NAMED_LIST.search(start)
    if named:
        _read_list(chain([start[named.end() :]], texts), table)
    else:
        _read_columns(chain([start], texts), table)
    return {}


def _object(text: str) -> JsonObject:
    try:
        found = from_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lists_of_rows(value: JsonObject, depth: int = 0) -> Iterator[list[Any]]:
    for inner in value.values():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield inner
        elif isinstance(inner, dict) and depth < DEEPEST_ROWS:
            yield from _lists_of_rows(inner, depth + 1)


@dataclass
class _Rows:
    """How rows of a list begin and end."""

    opening: str

    def __post_init__(self) -> None:
        closing = "}" if self.opening == "{" else "]"
        self.between = re.compile(rf"(?<={re.escape(closing)})\s*,\s*(?={re.escape(self.opening)})")
        self.closing = closing


def _read_list(texts: Iterator[str], table: Table) -> None:
    """Rows of a list that begins with the text; what follows its end is of no interest."""
    buffer = next(texts, "")
    start = _OPENING.search(buffer, 1)
    if start is None or buffer[1 : start.start()].strip():
        table.lose(1 if buffer.strip(" []\r\n\t") else 0)
    if start is None:
        return
    rows, buffer = _Rows(start[0]), buffer[start.start() :]
    for text in chain(texts, [""]):
        buffer += text
        places = [match.span() for match in rows.between.finditer(buffer)]
        if text and places:
            piece, buffer = _cut(buffer, places, rows, table)
            _add(piece, table)
        elif text and len(buffer) > LONGEST_ROW:
            table.lose(1, len(buffer))
            buffer = ""
    _add_last(buffer, rows, table)


def _cut(buffer: str, places: list[tuple[int, int]], rows: _Rows, table: Table) -> tuple[list[Any], str]:
    """Rows up to a place between two of them near the end of the buffer, and what is left."""
    for end, next_start in places[: -MOST_CUTS - 1 : -1]:
        found = _list(buffer[:end])
        if found is not None:
            return found, buffer[next_start:]
    end, next_start = places[-1]
    return _one_by_one(buffer[:end], rows, table), buffer[next_start:]


def _one_by_one(text: str, rows: _Rows, table: Table) -> list[Any]:
    """The rows of a damaged stretch that can be read."""
    found = []
    for piece in rows.between.split(text):
        row = _list(piece)
        if row:
            found += row
        else:
            table.lose(1, len(piece.encode(errors="replace")))
    return found


def _add_last(buffer: str, rows: _Rows, table: Table) -> None:
    """The rest of the list: whole, followed by more of the object that holds it, or torn."""
    buffer = buffer.rstrip()
    if not buffer:
        return
    ends = [match.start() + 1 for match in re.finditer(rf"\{rows.closing}\s*\]", buffer)]
    for end in ends[:MOST_CUTS] + ends[: -MOST_CUTS - 1 : -1]:
        found = _list(buffer[:end])
        if found is not None:
            _add(found, table)
            return
    _add(_one_by_one(buffer[: ends[-1]] if ends else buffer, rows, table), table)


def _list(text: str) -> list[Any] | None:
    try:
        found = from_json(f"[{text}]")
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _add(rows: list[Any], table: Table) -> None:
    objects = [row for row in rows if isinstance(row, dict) and row]
    width = len(TENSORBOARD_COLUMNS)
    plain = [row for row in rows if isinstance(row, list) and len(row) == width]
    table.add_rows(objects)
    table.add_rows([dict(zip(TENSORBOARD_COLUMNS, row, strict=True)) for row in plain])
    if len(objects) + len(plain) < len(rows):
        table.lose(len(rows) - len(objects) - len(plain))


def _read_columns(texts: Iterator[str], table: Table) -> None:
    """`{"loss": [1, 2], ...}` or, as pandas writes it, `{"loss": {"0": 1, "1": 2}, ...}`; columns line up."""
    columns: dict[str, FloatArray] = {}
    buffer = ""
    for text in chain(texts, [""]):
        buffer += text
        done = 0
        for match in _COLUMN.finditer(buffer):
            name, opening, inside = match.groups()
            torn = match.end() == len(buffer)
            if torn and text:
                break  # the column goes on in the next block
            done = match.end()
            if name not in columns and table.keeps(name):
                closing = buffer[match.end() : match.end() + 1]
                values = _values(opening + inside + closing)
                columns[name] = numbers(values, name)
                table.lose(0 if values and closing in ("]", "}") else 1)
        buffer = buffer[done:]
        if len(buffer) > LONGEST_COLUMN:
            table.lose(1, len(buffer))
            buffer = ""
    if any(recognise(name) for name in columns):
        rows = max(map(len, columns.values()))
        table.add_columns({name: _padded(values, rows) for name, values in columns.items()}, rows)


def _padded(values: FloatArray, rows: int) -> FloatArray:
    return np.append(values, np.full(rows - values.size, ABSENT))


def _values(text: str) -> list[Any]:
    """The values of a column whose bracket may not be closed, up to the first that is damaged."""
    text = text.replace("\n", " ").replace("\r", " ")
    try:
        found = from_json(text, allow_partial=True)
    except ValueError as error:
        place = _PLACE.search(str(error))
        try:
            found = from_json(text[: int(place[1]) - 1 if place else 1], allow_partial=True)
        except ValueError:
            return []
    return list(found.values()) if isinstance(found, dict) else list(found)
