"""One history in every format that a doctor meets, written without the loggers' own packages.

What these write is held against files that the packages wrote themselves, in `tests/doctor/logs`.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from terrarium.doctor.readers.checksums import masked_crc32c

Row: TypeAlias = dict[str, Any]

BEGUN = 1_700_000_000.0
STEP, RUNTIME = "_step", "_runtime"


def rows_of(count: int, *, seed: int = 0) -> list[Row]:
    """Rows of a loss that falls with noise, each with its step and seconds; a rare column beside it."""
    rng = np.random.default_rng(seed)
    loss = 3 * np.exp(-np.arange(count) / (count / 5 + 1)) + 1 + 0.05 * rng.standard_normal(count)
    rows: list[Row] = [
        {STEP: step, RUNTIME: 0.5 * step, "train/loss": value, "learning_rate/group_0": 1e-3}
        for step, value in enumerate(np.round(loss, 6).tolist())
    ]
    for step in range(0, count, 100):
        rows[step]["train/codebook_usage"] = 0.5
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Comma-separated, empty where nothing was logged."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """A list of rows."""
    path.write_text(json.dumps(list(rows)), "utf-8")


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """A row a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_wandb(path: Path, rows: Iterable[Row], config: Row | None = None) -> None:
    """An offline run of W&B."""
    run = _field(1, b"a1b2c3d4") + _field(4, b"".join(_items(1, config or {})))
    records = [_field(17, run)]
    records += [_field(2, b"".join(_items(1, row))) for row in rows]
    path.write_bytes(b":W&B" + struct.pack("<HB", 0xBEE1, 0) + framed(records, 7))


def framed(records: Iterable[bytes], used: int) -> bytes:
    """Records framed as in LevelDB's log, the first of `used` bytes into a block of 32 KiB."""
    out = bytearray()
    for record in records:
        at = 0
        while at < max(1, len(record)):
            room = 32768 - (used + len(out)) % 32768
            if room < 7:
                out += bytes(room)
                continue
            piece = record[at : at + room - 7]
            first, last = at == 0, at + len(piece) >= len(record)
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, last]
            out += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(bytes([kind]))), len(piece), kind) + piece
            at += len(piece) if record else 1
    return bytes(out)


def _items(number: int, values: Row) -> Iterable[bytes]:
    for name, value in values.items():
        yield _field(number, _field(1, name.encode()) + _field(16, json.dumps(value).encode()))


def write_events(path: Path, rows: Iterable[Row]) -> None:
    """TensorBoard's events, one for each value, as `add_scalar` writes them."""
    events = [struct.pack("<Bd", 9, BEGUN) + _field(3, b"brain.Event:2")]
    for row in rows:
        head = struct.pack("<Bd", 9, BEGUN + row[RUNTIME]) + b"\x10" + _varint(row[STEP])
        for name, value in row.items():
            if name not in (STEP, RUNTIME):
                scalar = _field(1, name.encode()) + struct.pack("<Bf", 0x15, value)
                events.append(head + _field(5, _field(1, scalar)))
    path.write_bytes(recorded(events))


def recorded(records: Sequence[bytes]) -> bytes:
    """Records framed as TensorFlow does, with both checksums."""
    lengths = [struct.pack("<Q", len(record)) for record in records]
    length_sums, data_sums = _checksums(lengths), _checksums(records)
    parts = zip(lengths, length_sums, records, data_sums, strict=True)
    return b"".join(part for record in parts for part in record)


def _checksums(pieces: Sequence[bytes]) -> list[bytes]:
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    buffer = np.frombuffer(b"".join(pieces), np.uint8)
    sums = masked_crc32c(buffer, np.cumsum(lengths) - lengths, lengths)
    return [int(value).to_bytes(4, "little") for value in sums]


def write_trackio(path: Path, rows: Iterable[Row], config: Row | None = None, run: str = "first") -> None:
    """trackio's database, made or added to."""
    with closing(sqlite3.connect(path)) as database:
        add_to_trackio(database, rows, config, run)


def add_to_trackio(
    database: sqlite3.Connection, rows: Iterable[Row], config: Row | None = None, run: str = "first"
) -> None:
    """Add rows of a run to an open database."""
    database.execute(
        """CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,
        timestamp TEXT NOT NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL)"""
    )
    database.execute(
        """CREATE TABLE IF NOT EXISTS configs (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,
        run_name TEXT NOT NULL, config TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE(run_id))"""
    )
    entries = [(_moment(row), row[STEP], json.dumps(_own(row)), f"id-{run}", run) for row in rows]
    database.executemany(
        "INSERT INTO metrics (timestamp, step, metrics, run_id, run_name) VALUES (?, ?, ?, ?, ?)", entries
    )
    if config:
        database.execute(
            "INSERT INTO configs (run_id, run_name, config, created_at) VALUES (?, ?, ?, ?)",
            (f"id-{run}", run, json.dumps(config), _moment({RUNTIME: 0.0})),
        )
    database.commit()


def _moment(row: Row) -> str:
    return (datetime.fromtimestamp(BEGUN, UTC) + timedelta(seconds=row[RUNTIME])).isoformat()


def _own(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in (STEP, RUNTIME)}


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


WRITERS: dict[str, tuple[str, Callable[[Path, Sequence[Row]], None]]] = {
    "csv": ("history.csv", write_csv),
    "json": ("history.json", write_json),
    "jsonl": ("history.jsonl", write_jsonl),
    "wandb": ("run-a1b2c3d4.wandb", write_wandb),
    "tensorboard": ("events.out.tfevents.1700000000.host", write_events),
    "trackio": ("world.db", write_trackio),
}
"""Format: the name that such a file has, and who writes it."""
