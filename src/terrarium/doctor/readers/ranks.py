"""What several processes said after each step: `ranks.jsonl`, read from its end, whatever state it is in."""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject, number
from terrarium.doctor.ranks import UNKNOWN, Stretch, Together
from terrarium.doctor.readers.jsonl import row_of
from terrarium.doctor.readers.text_lines import last_lines

RANKS = "ranks.jsonl"
MOST_BYTES = 2**25
"""How much is read, from the end: a quarter of a million steps of two processes."""

MOST_RANKS = 4096
MOST_STRETCHES = 100
"""How many changes of the number of processes are kept, the last ones."""

MOST_SECONDS = 1e12  # thirty thousand years

_HIGHEST_STEP = 2**53


@dataclass
class _Raw:
    """The rows of a stretch as they come, one after the other."""

    count: int
    steps: array[float] = field(default_factory=lambda: array("d"))
    ready: array[float] = field(default_factory=lambda: array("d"))
    clips: array[int] = field(default_factory=lambda: array("q"))
    clock: array[float] = field(default_factory=lambda: array("d"))


def read_ranks(path: Path) -> Together | None:
    """Read what processes that train together said.

    Args:
        path: of `ranks.jsonl`; lines that are no rows are counted and passed over.

    Returns:
        The steps that count, the last ones where steps were taken again; None where no row could be read.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    content, cut_short = last_lines(path, MOST_BYTES)
    stretches: deque[_Raw] = deque(maxlen=MOST_STRETCHES)
    damaged = 0
    for line in content.splitlines():
        row = row_of(line.decode("utf-8", "replace")) if line.strip() else {}
        count = _count(row) if row else 0
        if count:
            if not stretches or stretches[-1].count != count:
                stretches.append(_Raw(count))
            _add(stretches[-1], row or {})
        elif line.strip():
            damaged += 1
    kept = tuple(_kept(stretches))
    return Together(f"{path.parent.name}/{path.name}", kept, damaged, cut_short) if kept else None


def _count(row: JsonObject) -> int:
    """How many processes a row describes; 0 where it is no such row."""
    step, lists = row.get("step"), [row.get(name) for name in ("ready_seconds", "clips", "clock")]
    lengths = {len(each) for each in lists if isinstance(each, list)}
    if type(step) is not int or not 0 <= step < _HIGHEST_STEP or len(lengths) != 1:
        return 0
    (count,) = lengths
    return count if 2 <= count <= MOST_RANKS else 0


def _add(raw: _Raw, row: JsonObject) -> None:
    raw.steps.append(row["step"])
    raw.ready.extend(_seconds(row.get("ready_seconds"), raw.count))
    raw.clock.extend(_seconds(row.get("clock"), raw.count))
    raw.clips.extend(_names(row.get("clips"), raw.count))


def _seconds(values: Any, count: int) -> Iterator[float]:
    """One figure per rank; NaN where it is no number or nothing that a clock shows."""
    for value in values if isinstance(values, list) else [None] * count:
        seconds = number(value)
        yield float("nan") if seconds is None or not 0 <= seconds <= MOST_SECONDS else seconds


def _names(values: Any, count: int) -> Iterator[int]:
    """What each rank calls its clips, as numbers: equal names, equal numbers."""
    for value in values if isinstance(values, list) else [None] * count:
        is_name = isinstance(value, str) and value != ""
        yield zlib.crc32(str(value).encode("utf-8", "replace")) if is_name else UNKNOWN


def _kept(stretches: Sequence[_Raw]) -> Iterator[Stretch]:
    """The rows that count, as a history's do: where steps were taken again, the later ones."""
    steps = np.concatenate([np.asarray(raw.steps) for raw in stretches]) if stretches else np.zeros(0)
    every = History({"step": steps, "row": np.arange(steps.size, dtype=np.float64)})
    kept = every.kept().columns["row"].astype(np.int64)
    ends = np.cumsum([0, *(len(raw.steps) for raw in stretches)])
    for raw, (begin, end) in zip(stretches, pairwise(ends.tolist()), strict=True):
        mine = kept[(kept >= begin) & (kept < end)] - begin
        if mine.size:
            shape = (-1, raw.count)
            ready, clock = np.asarray(raw.ready).reshape(shape), np.asarray(raw.clock).reshape(shape)
            clips = np.asarray(raw.clips, dtype=np.int64).reshape(shape)
            yield Stretch(np.asarray(raw.steps)[mine], ready[mine], clips[mine], clock[mine])
