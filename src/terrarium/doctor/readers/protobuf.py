"""The wire format of Protocol Buffers, as much of it as logs need: https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

import struct
from collections.abc import Iterator

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


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: (number, value), fixed-width values as their bytes.

    Raises:
        ValueError: it is not a whole message.
    """
    at, size = 0, len(data)
    while at < size:
        key, at = varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            length, at = varint(data, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"unknown kind of field {kind}")
        if at + length > size:
            raise ValueError("a field reaches over the end")
        yield key >> 3, data[at : at + length]
        at += length


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def floats(data: bytes) -> tuple[float, ...]:
    """Packed 32-bit floats; one field that is not packed is one of them."""
    return struct.unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4])


def doubles(data: bytes) -> tuple[float, ...]:
    """Packed 64-bit floats; one field that is not packed is one of them."""
    return struct.unpack(f"<{len(data) // 8}d", data[: len(data) // 8 * 8])
