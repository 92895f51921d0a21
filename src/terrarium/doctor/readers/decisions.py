"""What training decided at its gates: `gates.jsonl`, read from its end, whatever state it is in."""

from __future__ import annotations

from pathlib import Path

from terrarium.doctor.decisions import Decided, Decisions
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.readers.jsonl import row_of
from terrarium.doctor.readers.text_lines import last_lines

GATES = "gates.jsonl"
MOST_BYTES = 2**24
"""How much is read, from the end: some fifty thousand questions."""

MOST_DECISIONS, MOST_NUMBERS, LONGEST = 200, 60, 1000
GO_ON = "continue"


def read_decisions(path: Path) -> Decisions | None:
    """Read what was decided; of very many decisions the last ones.

    Args:
        path: of `gates.jsonl`.

    Returns:
        None where training was asked nothing, or it can't be read.
    """
    try:
        content, _ = last_lines(path, MOST_BYTES)
    except (OSError, ValueError):
        return None
    texts = [line.decode("utf-8", "replace") for line in content.splitlines() if line.strip()]
    rows = [row for text in texts if (row := row_of(text)) is not None]
    made = [_decided(row) for row in rows if row.get("what") != GO_ON or row.get("reason")]
    source = f"{path.parent.name}/{path.name}"
    return (
        Decisions(source, len(rows), len(texts) - len(rows), tuple(made[-MOST_DECISIONS:])) if rows else None
    )


def _decided(row: JsonObject) -> Decided:
    numbers = list(mapping(row.get("numbers")).items())[:MOST_NUMBERS]
    return Decided(
        step=_whole(row.get("step")),
        what=_text(row.get("what")),
        code=_text(row.get("code")),
        cause=_text(row.get("cause")),
        reason=_text(row.get("reason")),
        onset=_whole(row.get("onset")),
        resumed_from=_whole(row.get("resumed_from")),
        rate_factor=number(row.get("rate_factor")),
        skip_batches=_whole(row.get("skip_batches")),
        accumulation_factor=_whole(row.get("accumulation_factor")),
        numbers={str(name)[:LONGEST]: number(value) for name, value in numbers},
    )


def _whole(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**53 else None


def _text(value: object) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""
