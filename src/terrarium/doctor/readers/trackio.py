"""trackio's SQLite files, read without leaving a trace: https://github.com/gradio-app/trackio

Rows lie in `metrics` (run, step, timestamp, a JSON object), configurations in `configs`. A database that is
being written to keeps its newest rows in a log beside it (`-wal`), which SQLite reads only where it may
write there; then both are copied to a temporary folder, and the copy is read.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from pydantic_core import from_json

from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers.facts import Facts
from terrarium.doctor.readers.table import MOST_ROWS, Table
from terrarium.run import disk

MAGIC = b"SQLite format 3\0"
MOST_RUNS = 12
ROWS_AT_ONCE = 10_000
LONGEST_TEXT = 2**20
LARGEST_COPY = 2**30
MOST_SECONDS = 30.0
"""Of one file: a view in a hostile database could have no end."""

LOGS = ("-wal", "-journal")
_RUNS = "SELECT KEY, max(run_name) FROM metrics GROUP BY KEY ORDER BY max(id) DESC LIMIT ?"
_ROWS = "SELECT step, timestamp, metrics FROM metrics WHERE KEY = ? ORDER BY id LIMIT ?"
_CONFIG = "SELECT config FROM configs WHERE KEY = ? ORDER BY id DESC LIMIT 1"
_INSTRUCTIONS = 100_000  # of SQLite's machine between two looks at the clock


def read_runs(path: Path, wanted: frozenset[str]) -> list[tuple[Table, Facts]]:
    """Rows and facts of each run in a database, the newest run first.

    Args:
        path: the file.
        wanted: columns that are kept whatever they are called.

    Raises:
        OSError: it can't be opened or read.
        ValueError: it is not a regular file.
        sqlite3.Error: it is damaged, or no database.
    """
    with _open(path) as database:
        columns = {name for _, name, *_ in database.execute("PRAGMA table_info(metrics)")}
        if not {"id", "run_name", "step", "timestamp", "metrics"} <= columns:
            return []
        key = "run_id" if "run_id" in columns else "run_name"
        runs = database.execute(_RUNS.replace("KEY", key), (MOST_RUNS,)).fetchall()
        return [_read_run(database, key, run, name, wanted) for run, name in runs]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    logs = [path.with_name(path.name + end) for end in LOGS]
    if not any(_size(log) for log in logs) or _size(path) > LARGEST_COPY:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
            yield _bounded(database)
        return
    with tempfile.TemporaryDirectory(prefix="terrarium-") as folder:
        for file in (path, *logs):
            if _size(file):
                _copy(file, Path(folder) / file.name.replace(path.name, "copy.db", 1))
        with closing(sqlite3.connect(Path(folder) / "copy.db")) as database:
            yield _bounded(database)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _copy(source: Path, target: Path) -> None:
    with os.fdopen(disk.open_regular(source), "rb") as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy, 2**20)


def _bounded(database: sqlite3.Connection) -> sqlite3.Connection:
    end = time.monotonic() + MOST_SECONDS
    database.set_progress_handler(lambda: int(time.monotonic() > end), _INSTRUCTIONS)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 16 * LONGEST_TEXT)
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def _read_run(
    database: sqlite3.Connection, key: str, run: object, name: object, wanted: frozenset[str]
) -> tuple[Table, Facts]:
    table, facts = Table(wanted), Facts(run=str(name)[:200])
    rows = database.execute(_ROWS.replace("KEY", key), (run, MOST_ROWS + 1))
    try:
        while some := rows.fetchmany(ROWS_AT_ONCE):
            table.add_rows([values for row in some if (values := _row(row, table))])
        facts.config = _config(database, key, run)
    except sqlite3.Error:
        table.lose(1)  # what was read before the damage counts
    return table, facts


def _row(row: tuple[object, object, object], table: Table) -> JsonObject:
    """A row; its step is called `_step`, so that one that the training itself logged comes first."""
    step, timestamp, metrics = row
    values = _object(metrics)
    if not values:
        table.lose(1, len(metrics) if isinstance(metrics, str | bytes) else 0)
        return {}
    return {**values, "_step": step, "timestamp": timestamp}


def _config(database: sqlite3.Connection, key: str, run: object) -> JsonObject:
    try:
        found = database.execute(_CONFIG.replace("KEY", key), (run,)).fetchone()
    except sqlite3.OperationalError:
        return {}  # an older database without this table
    return {name: value for name, value in _object(found[0] if found else "").items() if name[:1] != "_"}


def _object(text: object) -> JsonObject:
    if not isinstance(text, str | bytes) or len(text) > LONGEST_TEXT:
        return {}
    try:
        value = from_json(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
