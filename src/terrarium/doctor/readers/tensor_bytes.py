"""The tensors' own bytes, looked at piece by piece: which are not finite, which are all zero."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from terrarium.doctor.readers.file_window import Window
from terrarium.run.tensors import NOT_FINITE

ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    "C128": 16,
}
_BITS = {**NOT_FINITE, "C128": NOT_FINITE["F64"]}
_MINUS_INFINITY = {"F16": 0xFC00, "BF16": 0xFF80, "F32": 0xFF80_0000, "F64": 0xFFF0_0000_0000_0000}


@dataclass
class SeenTensor:
    """A tensor in a file.

    Attributes:
        path: the keys that lead to it.
        dtype: as safetensors names it, such as "F32"; any text where it is not known.
        shape: its sizes.
        non_finite: how many of its numbers are NaN or infinite. Tensors that hold nothing but zeros and minus
            infinity are masks for attention: they count nothing.
        zero: whether all its bytes are zero; None where nobody looked.
    """

    path: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    non_finite: int = 0
    zero: bool | None = None

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether its numbers can be NaN."""
        return self.dtype in _BITS


@dataclass
class Place:
    """Bytes `start` to `stop` of a region, and the tensors of one type that lie in them."""

    start: int
    stop: int
    dtype: str
    tensors: list[SeenTensor] = field(default_factory=list)


def look(region: Window, places: Sequence[Place]) -> int:
    """Read a region once, note in the tensors what is found, and return its CRC-32.

    Args:
        region: what to read.
        places: where its tensors lie, in any order; they may overlap, and none reaches beyond it.

    Raises:
        Flaw: the file ends before.
    """
    lanes = [
        _disjoint(place for place in places if place.dtype == dtype) for dtype in {p.dtype for p in places}
    ]
    bounds = [([place.start for place in lane], [place.stop for place in lane]) for lane in lanes]
    checksum = 0
    for offset, chunk in region.chunks():
        checksum = zlib.crc32(chunk, checksum)
        view = memoryview(chunk)
        for lane, (starts, stops) in zip(lanes, bounds, strict=True):
            first, end = bisect_right(stops, offset), bisect_left(starts, offset + len(chunk))
            for place in lane[first:end]:
                _look(view[max(0, place.start - offset) : place.stop - offset], place)
    return checksum


def _disjoint(places: Iterable[Place]) -> list[Place]:
    """Merges overlapping places, so that shared weights and views are read once."""
    merged: list[Place] = []
    for place in sorted(places, key=lambda place: place.start):
        if merged and place.start < merged[-1].stop:
            merged[-1].stop = max(merged[-1].stop, place.stop)
            merged[-1].tensors.extend(place.tensors)
        else:
            merged.append(Place(place.start, place.stop, place.dtype, list(place.tensors)))
    for place in merged:
        for tensor in place.tensors:
            tensor.zero = True
    return merged


def _look(piece: memoryview, place: Place) -> None:
    if place.tensors[0].zero and np.frombuffer(piece, np.uint8).any():
        for tensor in place.tensors:
            tensor.zero = False
    if (bad := count_not_finite(place.dtype, piece)) > 0:
        for tensor in place.tensors:
            tensor.non_finite += bad


def count_not_finite(dtype: str, piece: memoryview) -> int:
    """How many numbers are NaN or infinite, by their bits; 0 for a mask of zeros and minus infinity."""
    if dtype not in _BITS:
        return 0
    view, mask, pattern = _BITS[dtype]
    bits = np.frombuffer(piece[: len(piece) // np.dtype(view).itemsize * np.dtype(view).itemsize], view)
    bad = (bits & mask) == pattern
    if not bad.any():
        return 0
    minus = _MINUS_INFINITY.get(dtype)
    if minus is not None and bool((bits[bad] == minus).all()) and not bits[~bad].any():
        return 0
    return int(bad.sum())
