"""The wire format of Protocol Buffers, as much of it as logs need: https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it.

    Raises:
        ValueError: it does not end.
    """
    value = shift = 0
    for place in range(at, min(at + LONGEST_VARINT, len(data))):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
        shift += 7
    raise ValueError("a number does not end")


class Field(NamedTuple):
    """Where a field of a message lies: its number, its kind, and its value's bytes from `start` to `stop`."""

    number: int
    kind: int
    start: int
    stop: int


def places(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Field]:
    """The fields of a message that lies between two places of `data`.

    Raises:
        ValueError: it is not a whole message.
    """
    at, stop = start, len(data) if stop is None else stop
    while at < stop:
        key, at = varint(data, at)
        kind = key & 7
        if kind == VARINT:
            end = varint(data, at)[1]
        elif kind == BYTES:
            length, at = varint(data, at)
            end = at + length
        elif kind in (FIXED64, FIXED32):
            end = at + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"unknown kind of field {kind}")
        if end > stop:
            raise ValueError("a field reaches over the end")
        yield Field(key >> 3, kind, at, end)
        at = end


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: (number, value), fixed-width values as their bytes.

    Raises:
        ValueError: it is not a whole message.
    """
    for number, kind, start, stop in places(data):
        yield number, varint(data, start)[0] if kind == VARINT else data[start:stop]


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def floats(data: bytes) -> tuple[float, ...]:
    """Packed 32-bit floats; one field that is not packed is one of them."""
    return struct.unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4])
