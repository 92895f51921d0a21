"""Rows of a history: what a row may hold, and reading rows from an untrusted file."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from terrarium.errors import RunError
from terrarium.run import disk

Scalar = float | int | str | None
Row = dict[str, Scalar]

MAX_STEP = 2**53  # above this, readers that convert to floats would merge steps
MAX_INTEGER = 2**63
MAX_LINE_BYTES = 2**20
MAX_HISTORY_BYTES = 2**31
RESERVED = frozenset({"reason", "discarded_at", "torn"})  # keys that are added to a discarded row


class Rows(NamedTuple):
    """What `read_history` found: the rows in file order, and how many lines were skipped."""

    rows: list[Row]
    skipped: int


def read_history(path: Path) -> Rows:
    """Read a history, even one that is being written, was torn by a kill, or comes from a stranger.

    Args:
        path: a `history.jsonl`; if it is missing there are no rows.

    Returns:
        The rows as they were written (a non-finite number is None, with `<key>_text` beside it), and the
        number of lines that are not rows. Rows are neither sorted nor deduplicated.

    Raises:
        RunError: the file can't be read, is not a regular file, or is larger than 2 GiB.
    """
    rows = [parse_row(line) for line in read_lines(path)]
    whole = [row for row in rows if row is not None]
    return Rows(whole, len(rows) - len(whole))


def clean_row(row: Mapping[str, object]) -> Row:
    """The row as plain Python scalars, numpy's converted, and every non-finite number spelled out as text.

    Raises:
        RunError: a value is not a scalar, or an integer above 64 bits; a key is reserved; there is no `step`.
    """
    clean: Row = {}
    for key, value in row.items():
        if key in RESERVED:
            raise RunError(f"a row may not have the key {key!r}: discarded rows use it")
        if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
            number = float(value)
            clean[key] = number if math.isfinite(number) else None
            if not math.isfinite(number):
                clean[f"{key}_text"] = str(number)
        elif isinstance(value, numbers.Integral) and abs(int(value)) < MAX_INTEGER:
            clean[key] = int(value)
        elif value is None or isinstance(value, str):
            clean[key] = value
        else:
            raise RunError(
                f"a row can't hold {key!r} = {str(value)[:40]} ({type(value).__name__}), only plain scalars"
            )
    if "step" not in clean:
        raise RunError(f"a row has no 'step', only {', '.join(map(repr, clean))}")
    return clean


def parse_row(line: bytes) -> Row | None:
    """The row in a line, or None: not JSON, not scalars, without a step, or longer than a MiB."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        row = disk.parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not all(map(_is_scalar, row.values())):
        return None
    step = row.get("step")
    return row if type(step) is int and 0 <= step < MAX_STEP else None


def _is_scalar(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < MAX_INTEGER
    return value is None or isinstance(value, float | str)


def step_of(row: Row) -> int:
    """The step of a row that `parse_row` or `clean_row` let pass."""
    step = row["step"]
    assert isinstance(step, int)  # noqa: S101 - parse_row and append let nothing else pass
    return step


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their line ends; a kill may have left the last one without its own.

    Raises:
        RunError: the file can't be read, is no regular file, or is larger than 2 GiB.
    """
    try:
        content = disk.read_bounded(path, MAX_HISTORY_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} can't be read: {disk.why(error)}") from error
    except ValueError as error:
        raise RunError(f"{path} can't be read: it {error}") from error
    yield from content.removesuffix(b"\n").split(b"\n") if content else ()
