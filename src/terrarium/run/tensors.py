"""What a safetensors file holds, read from its bytes: names, types, shapes, and which tensors are not finite.

Nothing is converted to floats: the bits of its exponent tell whether a number is NaN or infinite, and an
integer view shows those for every type, bfloat16 and float8 included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize

from terrarium.run.disk import parse_json, shown

Signature = tuple[str, tuple[int, ...]]
"""Type (as safetensors names it, such as "F32") and shape of a tensor."""

Table = dict[str, Signature]
"""The signature of every tensor, by name."""

SHARDING = "DCP_SHARDING_INFO"
MAX_TENSOR_FILE_BYTES = 8 * 2**30

# type: (integer view, mask, pattern); a number is not finite if its bits under the mask equal the pattern.
# Mostly that is an exponent of all ones; some float8 types have no infinity and a single NaN, the pattern of
# negative zero.
NOT_FINITE = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000, 0x7F80_0000),
    "C64": ("<u4", 0x7F80_0000, 0x7F80_0000),
    "F16": ("<u2", 0x7C00, 0x7C00),
    "BF16": ("<u2", 0x7F80, 0x7F80),
    "F8_E5M2": ("|u1", 0x7C, 0x7C),
    "F8_E4M3": ("|u1", 0x7F, 0x7F),
    "F8_E8M0": ("|u1", 0xFF, 0xFF),
    "F8_E4M3FNUZ": ("|u1", 0xFF, 0x80),
    "F8_E5M2FNUZ": ("|u1", 0xFF, 0x80),
}
_ALWAYS_FINITE = frozenset(
    {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F4", "F6_E2M3", "F6_E3M2"}
)
_CHUNK_BYTES = 2**22  # bounds the memory of the comparison

# the names that torch and numpy use
_OTHER_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}


class Tensors(NamedTuple):
    """What `examine` found.

    Signatures, how many numbers there are, which tensors are not finite, and for parts of larger tensors the
    row at which they start.
    """

    table: Table
    elements: int
    non_finite: list[str]
    starts: Mapping[str, int] = MappingProxyType({})


def dtype_name(name: str) -> str:
    """The name that safetensors uses for a type: "F32" for "torch.float32", "float32" and "F32"."""
    return _OTHER_NAMES.get(name.removeprefix("torch."), name)


def is_finite(dtype: str, data: bytes | bytearray) -> bool:
    """Whether none of the numbers in a tensor's raw little-endian bytes is NaN or infinite.

    Raises:
        ValueError: the type is unknown.
    """
    if dtype in _ALWAYS_FINITE:
        return True
    if dtype not in NOT_FINITE:
        raise ValueError(f"has a tensor of the unknown type {shown(dtype)}")
    view, mask, pattern = NOT_FINITE[dtype]
    bits = np.frombuffer(data, dtype=view)
    size = _CHUNK_BYTES // bits.itemsize
    chunks = (bits[start : start + size] for start in range(0, bits.size, size))
    return not any(bool(np.any((chunk & mask) == pattern)) for chunk in chunks)


def examine(content: bytes) -> Tensors:
    """Parse a whole safetensors file and check every number in it.

    Raises:
        ValueError: it is not a safetensors file, or has a tensor of an unknown type.
    """
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(f"is not a safetensors file: {str(error)[:200]}") from error
    table: Table = {}
    non_finite = []
    elements = 0
    for name, entry in entries:
        dtype, shape, data = str(entry["dtype"]), tuple(entry["shape"]), entry["data"]
        table[name] = (dtype, shape)
        elements += math.prod(shape)
        if not is_finite(dtype, data):
            non_finite.append(name)
    return Tensors(table, elements, sorted(non_finite), row_starts(content))


def row_starts(content: bytes) -> dict[str, int]:
    """The row of a larger tensor at which each tensor of a file begins, as PyTorch's DCP says.

    Raises:
        ValueError: it can't be understood, or tensors are not cut by rows.
    """
    length = int.from_bytes(content[:8], "little")
    header = parse_json(content[8 : 8 + length])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    told = metadata.get(SHARDING) if isinstance(metadata, dict) else None
    if told is None:
        return {}
    places = parse_json(str(told).encode())
    if not isinstance(places, dict):
        raise ValueError("does not say where its parts belong")
    return {str(name): _row(str(name), place) for name, place in places.items()}


def _row(name: str, place: object) -> int:
    match place:
        case {"saved_offsets": []}:
            return 0
        case {"saved_offsets": [int(row), *others]} if row >= 0 and not any(others):
            return row
    raise ValueError(f"has a part of {shown(name)} that is not cut by rows")


def parse_table(value: object) -> Table:
    """Parse a table from JSON, `{name: [dtype, shape]}`.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(value, Mapping):
        raise ValueError("is not a table of tensors")
    return {str(name): _parse_signature(str(name), signature) for name, signature in value.items()}


def _parse_signature(name: str, value: object) -> Signature:
    match value:
        case [str(dtype), [*shape]] | [str(dtype), tuple(shape)] if all(type(size) is int for size in shape):
            return dtype_name(dtype), tuple(shape)
    raise ValueError(f"has {shown(value)} for {shown(name)}, not [dtype, shape]")
