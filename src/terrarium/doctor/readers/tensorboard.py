"""TensorBoard's event files, read to their end: no sampling, and on after a damaged record."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray
from terrarium.doctor.readers.event_message import Scalars, decode
from terrarium.doctor.readers.facts import Facts
from terrarium.doctor.readers.table import ABSENT, Table
from terrarium.doctor.readers.tfrecord import HEADER, read_batches
from terrarium.run import disk

EVENT_FILE = "tfevents"
MOST_FILES = 1000
STEP_COLUMN, TIME_COLUMN = "global_step", "wall_time"

_VERSION = b"brain.Event:"
_MADE_AT = re.compile(r"tfevents\.(\d{1,12})")


def is_event_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes [at least 40] holds events: the first tells the version."""
    return _VERSION in head[HEADER:]


def event_files(folder: Path) -> list[Path]:
    """The event files in a folder, not below it, in the order in which they were begun.

    Raises:
        OSError: the folder can't be read.
    """
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if EVENT_FILE in entry.name and entry.is_file(follow_symlinks=False)
        ]
    return [folder / name for name in sorted(names, key=_begun)][:MOST_FILES]


def _begun(name: str) -> tuple[int, str]:
    match = _MADE_AT.search(name)
    return int(match[1]) if match else 0, name


def read_events(paths: Sequence[Path], table: Table) -> Facts:
    """Add the scalars of event files to a table, one row for those that were logged together.

    Returns:
        The settings of the run, where it logged them.

    Raises:
        OSError: a file can't be opened or read.
        ValueError: one is not a regular file.
    """
    facts = Facts()
    for path in paths:
        with os.fdopen(disk.open_regular(path), "rb") as file:
            for batch in read_batches(file, table):
                _add(decode(batch, table, facts.config), table)
    return facts


def _add(scalars: Scalars, table: Table) -> None:
    """Scalars of one step that follow on each other become one row."""
    if not scalars.places:
        return
    order = np.argsort(np.concatenate(scalars.places), kind="stable")
    steps, walls, values = (
        np.concatenate(part)[order] for part in (scalars.steps, scalars.walls, scalars.values)
    )
    tags = np.concatenate(scalars.tags)[order]
    row_of = _rows(steps, tags, len(scalars.names))
    rows = int(row_of[-1]) + 1
    names = [
        STEP_COLUMN,
        TIME_COLUMN,
        *(name for name in scalars.names if name not in (STEP_COLUMN, TIME_COLUMN)),
    ]
    columns: dict[str, FloatArray] = {name: np.full(rows, ABSENT) for name in names}
    for name, tag in scalars.names.items():
        chosen = tags == tag
        columns[name][row_of[chosen]] = values[chosen]
    first = np.unique(row_of, return_index=True)[1]
    columns[STEP_COLUMN], columns[TIME_COLUMN] = steps[first], walls[first]
    table.add_columns(columns, rows)


def _rows(steps: FloatArray, tags: NDArray[np.int64], names: int) -> NDArray[np.int64]:
    """The row of each scalar [N]: a new one where the step changes or where a tag comes again."""
    run = np.concatenate([[0], np.cumsum(np.diff(steps) != 0)])
    key = run * names + tags
    order = np.argsort(key, kind="stable")
    new = np.concatenate([[True], np.diff(key[order]) != 0])
    start = np.maximum.accumulate(np.where(new, np.arange(key.size), 0))
    again = np.empty(key.size, dtype=np.int64)
    again[order] = np.arange(key.size) - start  # how often the tag came before in its run
    pairs = run * (int(again.max()) + 1) + again
    return np.asarray(np.unique(pairs, return_inverse=True)[1], dtype=np.int64)
