"""Where the tensors of a torch file lie in its storages; everything that the file claims is checked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from terrarium.doctor.readers.inert_objects import Array, ArrayType, Storage, Tensor, find_tensors
from terrarium.doctor.readers.tensor_bytes import ITEM_BYTES, Place, SeenTensor, count_not_finite
from terrarium.run.flaw import Flaw
from terrarium.run.tensors import dtype_name

MOST_DIMENSIONS = 64
LARGEST_SIZE = 2**48


@dataclass
class Stored:
    """A storage that tensors lie in.

    Attributes:
        elements: how many it holds, in its own type.
        size: in bytes; None where its type is not known.
        places: where in it the tensors lie.
    """

    elements: int = 0
    size: int | None = None
    places: list[Place] = field(default_factory=list)


def place_tensors(value: object) -> tuple[tuple[SeenTensor, ...], dict[str, Stored]]:
    """The tensors below a value, not yet looked at, and the storages that they lie in, by key.

    Raises:
        Flaw: shapes, strides or offsets are no such, or lead out of the storage ("damaged"); it is nested too
            deeply ("too-large").
    """
    seen: list[SeenTensor] = []
    stored: dict[str, Stored] = {}
    counts: dict[int, int] = {}
    try:
        for path, item in find_tensors(value):
            if isinstance(item, Array):
                seen.append(_seen_array(path, item, counts))
            else:
                seen.append(SeenTensor(path, item.dtype, sizes_of(item.shape)))
                _place(item, seen[-1], stored)
    except ValueError as error:
        raise Flaw(f"pickle {error}", "too-large") from error
    return tuple(seen), stored


def sizes_of(shape: object) -> tuple[int, ...]:
    """A shape or strides as a file has them.

    Raises:
        Flaw: they are no short list of sizes.
    """
    if not isinstance(shape, tuple | list) or len(shape) > MOST_DIMENSIONS:
        raise Flaw("no shape")
    if not all(type(size) is int and 0 <= size <= LARGEST_SIZE for size in shape):
        raise Flaw("no shape")
    return tuple(shape)


def _place(tensor: Tensor, seen: SeenTensor, stored: dict[str, Stored]) -> None:
    storage = tensor.storage
    if not isinstance(storage, Storage):
        return  # a kind of tensor whose bytes lie elsewhere
    if type(storage.elements) is not int or not 0 <= storage.elements <= LARGEST_SIZE:
        raise Flaw(f"{'.'.join(seen.path)[:80]}: no size")
    item_bytes = ITEM_BYTES.get(storage.dtype)
    size = None if item_bytes is None else storage.elements * item_bytes
    known = stored.setdefault(storage.key, Stored(storage.elements, size))
    if known.elements != storage.elements or known.size != size:
        raise Flaw(f"{'.'.join(seen.path)[:80]}: two sizes of one storage")
    offset, strides = sizes_of((tensor.offset,))[0], sizes_of(tensor.strides)
    if len(strides) != len(seen.shape):
        raise Flaw(f"{'.'.join(seen.path)[:80]}: no strides")
    extent = 1 + sum((length - 1) * stride for length, stride in zip(seen.shape, strides, strict=True))
    item_bytes = ITEM_BYTES.get(seen.dtype)
    if 0 in seen.shape or item_bytes is None or size is None:
        return
    if (offset + extent) * item_bytes > size:
        raise Flaw(f"{'.'.join(seen.path)[:80]}: reaches beyond its storage")
    known.places.append(Place(offset * item_bytes, (offset + extent) * item_bytes, seen.dtype, [seen]))


def _seen_array(path: tuple[str, ...], array: Array, counts: dict[int, int]) -> SeenTensor:
    """A numpy array as a tensor; `counts` remembers what was found in bytes that several arrays share."""
    kind = array.dtype if isinstance(array.dtype, ArrayType) else ArrayType("u1")
    dtype = dtype_name(np.dtype(kind.code).name) if kind.order != ">" else kind.code
    if id(array.data) not in counts:
        data = array.data.encode("latin1", "replace") if isinstance(array.data, str) else array.data
        counts[id(array.data)] = count_not_finite(dtype, memoryview(data))
    try:
        shape = sizes_of(array.shape)
    except Flaw:
        shape = ()
    return SeenTensor(path, dtype, shape, counts[id(array.data)], False)
