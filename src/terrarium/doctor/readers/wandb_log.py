"""Offline logs of Weights & Biases, read without it: https://github.com/wandb/wandb (`run-<id>.wandb`).

Records lie in blocks of 32 KiB, framed as in LevelDB's log
(https://github.com/google/leveldb/blob/main/doc/log_format.md) but with plain CRC-32; each is a protobuf
`Record`. After damage reading goes on in the next block.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers.facts import Facts, put
from terrarium.doctor.readers.protobuf import fields, varint
from terrarium.doctor.readers.table import Table
from terrarium.run import disk

MAGIC = b":W&B"
HEADER_BYTES = 7  # the magic, a u16 and a version
BLOCK, FRAME = 32_768, 7
BLOCKS_AT_ONCE = 128
LARGEST_FILE = 2**32
LARGEST_RECORD = 2**24
LONGEST_VALUE = 4096  # of a value in a row; longer ones are histograms and the like
ROWS_AT_ONCE = 10_000
LAST_SUMMARIES = 100

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_FRAME = struct.Struct("<IHB")
_SEEDS = {kind: zlib.crc32(bytes([kind])) for kind in (FULL, FIRST, MIDDLE, LAST)}
HISTORY, SUMMARY, CONFIG, STATS, RUN = 2, 3, 5, 7, 17
"""Fields of a `Record`."""
UPDATE, KEY, NESTED_KEY, VALUE = 1, 1, 2, 16
"""Of a record with items, and of an item."""
_STEP_TAG = 0x12  # of a history record; it repeats one of the items
_HISTORY = re.compile(rb"(?:\x08[\x80-\xff]{0,9}[\x00-\x7f])?\x12([\x80-\xff]{0,4}[\x00-\x7f])")
_PLAIN_ITEM = re.compile(
    rb"\x0a[\x00-\x7f][\x0a\x12][\x01-\x7f]([ -~]+)\x82\x01[\x00-\x7f]([-+0-9.eENaInfity]+)"
)
_ITEM_OVERHEAD = 7  # bytes of an item beside its name and value


def read_wandb(path: Path, table: Table) -> Facts:
    """Add the rows of a `.wandb` file to a table; records that are damaged are counted.

    Returns:
        The run's id, configuration and summary.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    facts = Facts()
    rows: list[JsonObject] = []
    summaries: deque[bytes] = deque(maxlen=LAST_SUMMARIES)
    for record in _records(path, table):
        try:
            row = _take(record, facts, summaries)
        except ValueError:
            table.lose(1, len(record))
            continue
        if row:
            rows.append(row)
        if len(rows) >= ROWS_AT_ONCE:
            table.add_rows(rows)
            rows = []
    table.add_rows(rows)
    for summary in summaries:
        _put_items(summary, UPDATE, facts.summary)
    return facts


def _take(record: bytes, facts: Facts, summaries: deque[bytes]) -> JsonObject:
    """Take from a record what it tells: the row of a history record, else an empty one.

    Raises:
        ValueError: it is not a whole message.
    """
    history = _HISTORY.match(record)
    if history and varint(record, history.start(1))[0] == len(record) - history.end():
        return _row(record[history.end() :])
    for number, value in fields(record):
        if not isinstance(value, bytes):
            continue
        if number == HISTORY:
            return _row(value)
        if number == SUMMARY:
            summaries.append(value)
        elif number == STATS:
            return _device_use(value)
        elif number == CONFIG:
            _put_items(value, UPDATE, facts.config)
        elif number == RUN:
            _take_run(value, facts)
    return {}


def _take_run(record: bytes, facts: Facts) -> None:
    for number, value in fields(record):
        if number == 1 and isinstance(value, bytes):
            facts.run = value.decode(errors="replace")[:200]
        elif number == 4 and isinstance(value, bytes):
            _put_items(value, UPDATE, facts.config)


def _row(record: bytes) -> JsonObject:
    """The numbers and texts of a history record; the straight way where all items are plain numbers."""
    found = _PLAIN_ITEM.findall(record)
    size = sum([len(name) + len(value) for name, value in found]) + _ITEM_OVERHEAD * len(found)
    rest = len(record) - size
    if rest == 0 or (rest > 1 and record[size] == _STEP_TAG and record[size + 1] == rest - 2):
        try:
            return {name.decode(): float(value) for name, value in found}
        except ValueError:
            pass
    return _any_row(record)


def _any_row(record: bytes) -> JsonObject:
    row: JsonObject = {}
    for number, item in fields(record):
        if number != 1 or not isinstance(item, bytes):
            continue
        keys, value = _item(item)
        if len(value) <= LONGEST_VALUE:
            row["/".join(keys)] = _value(value)
    return row


def _value(text: bytes) -> Any:
    try:
        return float(text)
    except ValueError:
        return _json(text)


def _json(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return None


def _item(item: bytes) -> tuple[list[str], bytes]:
    """The nested keys of an item, and its value in JSON."""
    keys, value = list[str](), b""
    for number, inner in fields(item):
        if isinstance(inner, bytes) and number in (KEY, NESTED_KEY):
            keys.append(inner.decode(errors="replace"))
        elif isinstance(inner, bytes) and number == VALUE:
            value = inner
    return keys, value


def _put_items(record: bytes, wanted: int, target: JsonObject) -> None:
    try:
        for number, item in fields(record):
            if number == wanted and isinstance(item, bytes):
                keys, value = _item(item)
                if keys and keys[0] != "_wandb":
                    put(target, keys, _json(value))
    except ValueError:
        return  # the checksum held, so this is no message of W&B's


def _device_use(record: bytes) -> JsonObject:
    """What the system monitor says of the first GPU, under the name that W&B's pages give it."""
    for number, item in fields(record):
        if number == 3 and isinstance(item, bytes) and b"gpu.0.gpu" in item:
            keys, value = _item(item)
            if keys == ["gpu.0.gpu"]:
                return {"system.gpu.0.gpu": _value(value)}
    return {}


def _records(path: Path, table: Table) -> Iterator[bytes]:
    """Whole records, joined from their fragments; damaged or torn ones are counted."""
    parts: list[bytes] = []
    for kind, data in _fragments(path, table):
        if kind == FULL and not parts:
            yield data
            continue
        whole = kind == FULL or (kind == LAST and bool(parts))
        if parts and kind in (FULL, FIRST, 0):  # the record before was never finished
            table.lose(1 if kind else 0, sum(map(len, parts)))
            parts = []
        if kind == FIRST or (kind in (MIDDLE, LAST) and parts):
            parts.append(data)
        elif kind in (MIDDLE, LAST):
            table.lose(0, len(data))  # the rest of a record that was lost: counted there
        if sum(map(len, parts)) > LARGEST_RECORD:
            table.lose(1, sum(map(len, parts)))
            parts = []
        elif whole:
            yield data if kind == FULL else b"".join(parts)
            parts = []
    if parts:
        table.lose(1, sum(map(len, parts)))


def _fragments(path: Path, table: Table) -> Iterator[tuple[int, bytes]]:
    """(type, data) of every fragment whose checksum holds; type 0 where something was damaged."""
    with os.fdopen(disk.open_regular(path), "rb") as file:
        start, offset = HEADER_BYTES, 0
        while (blocks := file.read(BLOCK * BLOCKS_AT_ONCE)) and not table.full:
            for block_start in range(0, len(blocks), BLOCK):
                yield from _of_block(blocks[block_start : block_start + BLOCK], start, table)
                start = 0
            offset += len(blocks)
            if offset >= LARGEST_FILE:
                table.lose(1)
                return


def _of_block(block: bytes, at: int, table: Table) -> list[tuple[int, bytes]]:
    size, found = len(block), list[tuple[int, bytes]]()
    while size - at >= FRAME:
        crc, length, kind = _FRAME.unpack_from(block, at)
        data = block[at + FRAME : at + FRAME + length]
        if kind not in _SEEDS or len(data) < length or zlib.crc32(data, _SEEDS[kind]) != crc:
            table.lose(1, size - at)
            return [*found, (0, b"")]
        found.append((kind, data))
        at += FRAME + length
    if size < BLOCK and at < size:  # a torn header at the end of the file
        table.lose(1, size - at)
    return found
