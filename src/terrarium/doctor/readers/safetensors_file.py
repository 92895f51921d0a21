"""What a safetensors file of any size holds: the table at its head checked, the numbers looked at in pieces.

`terrarium.run.tensors` judges files of our own runs, which it has whole in memory and whose sha256 is known.
A stranger's file has no checksum: only what contradicts itself, or is not finite, can be told.
"""

from __future__ import annotations

import math

from pydantic_core import from_json

from terrarium.doctor.readers.file_window import Window
from terrarium.doctor.readers.tensor_bytes import ITEM_BYTES, Place, SeenTensor, look
from terrarium.doctor.readers.tensor_places import sizes_of
from terrarium.doctor.readers.torch_file import Contents
from terrarium.run.flaw import Flaw

LARGEST_HEADER = 8 * 2**20
_LENGTH_BYTES = 8


def read_safetensors(window: Window, *, deep: bool) -> Contents:
    """Read a safetensors file; the saved object is the metadata that it carries, texts by name.

    Args:
        window: the file.
        deep: look at every number, not only at the table.

    Raises:
        Flaw: it is "damaged" (cut off, or its table does not fit its bytes), or "too-large".
    """
    if window.size <= _LENGTH_BYTES:
        raise Flaw(f"{window.size} bytes")
    length = int.from_bytes(window.exactly(0, _LENGTH_BYTES), "little")
    if length > window.size - _LENGTH_BYTES:
        raise Flaw("header")
    if length > LARGEST_HEADER:
        raise Flaw(f"header: {length} bytes", "too-large")
    start = _LENGTH_BYTES + length
    metadata, places = _parse(window.exactly(_LENGTH_BYTES, length), window.size - start)
    if deep:
        for place in places:
            here = Place(0, place.stop - place.start, place.dtype, place.tensors)
            look(window.part(start + place.start, here.stop), [here])
    return Contents(metadata, tuple(tensor for place in places for tensor in place.tensors))


def _parse(header: bytes, size: int) -> tuple[object, list[Place]]:
    """The metadata, and the tensors by their place; these must fill the file without holes or overlap."""
    try:
        table = from_json(header)
    except ValueError:
        raise Flaw("header: JSON") from None
    if not isinstance(table, dict):
        raise Flaw("header: JSON")
    metadata = table.pop("__metadata__", {})
    places = sorted((_place(name, entry) for name, entry in table.items()), key=lambda place: place.start)
    end = 0
    for place in places:
        if place.start != end:
            raise Flaw(f"{place.tensors[0].path[0][:80]}: {place.start}, {end}")
        end = place.stop
    if end != size:
        raise Flaw(f"{size} of {end} bytes")
    return metadata, places


def _place(name: str, entry: object) -> Place:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]}:
            tensor = SeenTensor((name,), dtype, sizes_of(shape))
            item_bytes = ITEM_BYTES.get(dtype)
            if start <= stop and (item_bytes is None or math.prod(tensor.shape) * item_bytes == stop - start):
                return Place(start, stop, dtype, [tensor])
    raise Flaw(f"header: {name[:80]}")
