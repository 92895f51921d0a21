"""Histories as CSV: any usual delimiter, quoted or not, torn or damaged anywhere."""

from __future__ import annotations

import csv
import string
from collections.abc import Iterator
from dataclasses import dataclass, field

from terrarium.doctor.readers.names import recognise
from terrarium.doctor.readers.table import Table, numbers

ROWS_AT_ONCE = 10_000
DELIMITERS = ",;\t|"
MOST_CELLS_AT_ONCE = 2_000_000

_LETTERS = frozenset(string.ascii_letters + '_/"')


@dataclass
class _Sheet:
    """The header now in force, and rows waiting to be added."""

    header: list[str] = field(default_factory=list)
    waiting: list[list[str]] = field(default_factory=list)
    decimal_comma: bool = False

    def add(self, row: list[str], table: Table) -> None:
        self.waiting.append(row)
        if len(self.waiting) >= ROWS_AT_ONCE or len(self.waiting) * len(row) >= MOST_CELLS_AT_ONCE:
            self.flush(table)

    def flush(self, table: Table) -> None:
        rows, self.waiting = self.waiting, []
        columns = dict(zip(self.header, zip(*rows, strict=True), strict=True)) if rows else {}
        columns = {name: cells for name, cells in columns.items() if table.keeps(name)}
        if self.decimal_comma:
            columns = {name: tuple(cell.replace(",", ".") for cell in c) for name, c in columns.items()}
        table.add_columns({name: numbers(cells, name) for name, cells in columns.items()}, len(rows))


def delimiter_of(header: str) -> str:
    """The delimiter of a CSV whose first line this is: a space where there is no other."""
    best = max(DELIMITERS, key=header.count)
    return best if best in header else " " if " " in header.strip() else ","


def looks_like_header(line: str) -> bool:
    """Whether a line names columns: at least one known, none a number."""
    cells = _split(line, delimiter_of(line))
    return any(recognise(cell) for cell in cells) and not any(map(_is_number, cells))


def read_csv(texts: Iterator[str], table: Table) -> None:
    """Add the rows of a CSV to a table; lines that don't fit the header are counted.

    A line that repeats the header, as a restarted training writes it, or brings a new one, is no row. A file
    without a header has columns called `column_1`, `column_2`, ...
    """
    first = next((line for line in texts if not line.startswith("#")), "")
    delimiter = delimiter_of(first)
    sheet = _Sheet(_split(first, delimiter), decimal_comma=delimiter == ";")
    if all(_is_number(cell) or not cell for cell in sheet.header):
        sheet.waiting.append(sheet.header)
        sheet.header = [""] * len(sheet.header)
    sheet.header = _distinct(sheet.header)
    width = len(sheet.header)
    for line in texts:
        plain = '"' not in line and delimiter != " "
        row = line.rstrip("\r\n").split(delimiter) if plain else _split(line, delimiter)
        if row and row[0][:1] in _LETTERS and looks_like_header(line):
            sheet.flush(table)
            sheet.header = _distinct(_split(line, delimiter))
            width = len(sheet.header)
        elif len(row) == width:
            sheet.add(row, table)
        elif len(row) > width and not any(row[width:]):
            sheet.add(row[:width], table)
        else:
            table.lose(1, len(line.encode(errors="replace")))
    sheet.flush(table)


def _split(line: str, delimiter: str) -> list[str]:
    """The cells of one line; a quote that is never closed does not swallow the lines after it."""
    if delimiter == " ":
        return line.split()
    if line.count('"') % 2:
        line = line.replace('"', "")
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _distinct(names: list[str]) -> list[str]:
    """Column names made unique: an empty or repeated one gets its position."""
    seen: set[str] = set()
    for place, name in enumerate(names, 1):
        names[place - 1] = name if name and name not in seen else f"{name or 'column'}_{place}"
        seen.add(name)
    return names


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
