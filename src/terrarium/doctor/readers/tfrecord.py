"""TensorFlow's framing of records: u64 length, its checksum, the data, their checksum.

Nothing marks where a record begins, so after damage every position is tried until one holds a length
whose checksum fits: https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import BoolArray
from terrarium.doctor.readers.checksums import masked_crc32c
from terrarium.doctor.readers.table import Table

Places: TypeAlias = NDArray[np.int64]

HEADER, FOOTER = 12, 4
CHUNK = 2**22
LARGEST_RECORD = 2**24
"""Larger ones are passed over unread: pictures and sounds, never rows."""

LARGEST_FILE = 2**32
MOST_DAMAGE = 2**27
"""Bytes of damage that are searched for the next record."""

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, eq=False)
class Batch:
    """Records that lie in one piece of a file; their own checksums are not compared yet.

    Attributes:
        data: the piece.
        starts: where the data of each record begins [N].
        lengths: of each record [N].
    """

    data: bytes
    starts: Places
    lengths: Places

    def are_sound(self, chosen: Places) -> BoolArray:
        """Whether the checksums of the records at some places [K] of the batch fit their data [K]."""
        return _fit(self.data, self.starts[chosen], self.lengths[chosen])


def read_batches(file: BinaryIO, table: Table) -> Iterator[Batch]:
    """The records of a file; a stretch of bytes that belongs to none counts as one lost record."""
    data, lost, in_damage = b"", 0, False
    while chunk := file.read(CHUNK):
        data, at = data + chunk, 0
        while True:
            batch, at = _walk(data, at)
            if batch.starts.size:
                in_damage = False
                yield batch
            size = _size_at(data, at)
            if size > LARGEST_RECORD:
                at = _skip(file, data, at + size)
            if size or table.full or lost > MOST_DAMAGE or file.tell() > LARGEST_FILE:
                break
            found = _next_record(data, at + 1)
            table.lose(0 if in_damage else 1, found - at)
            lost, in_damage, at = lost + found - at, True, found
        if not size:
            table.lose(1)
            return
        data = data[at:]
    if data:
        table.lose(1, len(data))


def _walk(data: bytes, at: int) -> tuple[Batch, int]:
    """The whole records from a place on up to the first damaged header, and where they end."""
    starts, lengths = list[int](), list[int]()
    while at + HEADER <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if at + HEADER + length + FOOTER > len(data):
            break
        starts.append(at + HEADER)
        lengths.append(length)
        at += HEADER + length + FOOTER
    places, sizes = np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64)
    bad = np.flatnonzero(~_headers_fit(data, places - HEADER))
    if bad.size:
        at = starts[bad[0]] - HEADER
        places, sizes = places[: bad[0]], sizes[: bad[0]]
    return Batch(data, places, sizes), at


def _size_at(data: bytes, at: int) -> int:
    """Bytes of the record that begins, but does not end in `data`; 0 where its header is damaged."""
    if at + HEADER > len(data):
        return HEADER
    if not _headers_fit(data, np.array([at]))[0]:
        return 0
    return HEADER + int(_LENGTH.unpack_from(data, at)[0]) + FOOTER


def _skip(file: BinaryIO, data: bytes, end: int) -> int:
    """Move to a place beyond `data`, counted from its start; returns where `data` is read up to."""
    file.seek(min(end - len(data), LARGEST_FILE), os.SEEK_CUR)
    return len(data)


def _next_record(data: bytes, at: int) -> int:
    """The next place with a sound header, or the first one that is too near the end to tell."""
    buffer = np.frombuffer(data, np.uint8)[at:]
    count = max(0, buffer.size - HEADER + 1)
    short = np.ones(count, dtype=np.bool_)  # a record of a row has a length of less than three bytes
    for place in range(3, 8):
        short &= buffer[place : place + count] == 0
    checked = np.logical_or.reduce([buffer[place : place + count] != 0 for place in range(8, HEADER)])
    candidates = np.flatnonzero(short & checked) + at
    sound = candidates[_headers_fit(data, candidates)]
    return int(sound[0]) if sound.size else at + count


def _headers_fit(data: bytes, places_N: Places) -> BoolArray:
    return _fit(data, places_N, np.full(places_N.size, 8))


def _fit(data: bytes, starts_N: Places, lengths_N: Places) -> BoolArray:
    buffer = np.frombuffer(data, np.uint8)
    stored_N4 = buffer[(starts_N + lengths_N)[:, None] + np.arange(4)]
    return np.asarray(
        np.ascontiguousarray(stored_N4).view("<u4")[:, 0] == masked_crc32c(buffer, starts_N, lengths_N)
    )
