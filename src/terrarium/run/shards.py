"""Checkpoints to which several processes wrote their rows of every tensor, and how to read them as one.

PyTorch's distributed checkpoint writes one safetensors file per process; its header says at which row of the
whole tensor each part begins. Names in it are `model/<parameter>`, `ema/<parameter>` and
`optimizer/<parameter>/<slot>`. Here they are turned into the three files that one process would have written.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from safetensors import deserialize

from terrarium.run.manifest import EMA, MODEL, OPTIMIZER, SHARD
from terrarium.run.tensors import Tensors, row_starts

FILES = {"model": MODEL, "ema": EMA, "optimizer": OPTIMIZER}
Part = tuple[int, tuple[int, ...]]
"""The first row of a part in its tensor, and the part's shape."""
Whole = tuple[str, tuple[int, ...], bytes]
"""Type, shape and numbers of a tensor."""


def are_shards(names: Iterable[str]) -> bool:
    """Whether these files are parts that several processes wrote."""
    return any(re.fullmatch(SHARD, name) for name in names)


def join_tables(tensors: Mapping[str, Tensors]) -> Mapping[str, Tensors]:
    """What `examine` found in shards, as if in the three files; anything else is returned unchanged.

    Raises:
        ValueError: the parts of a tensor leave a gap, overlap, or are not cut by rows.
    """
    if not are_shards(tensors):
        return tensors
    parts: dict[tuple[str, str], list[Part]] = defaultdict(list)
    types: dict[tuple[str, str], str] = {}
    bad: dict[str, set[str]] = {name: set() for name in FILES.values()}
    for shard in tensors.values():
        for name, (dtype, shape) in shard.table.items():
            key = _place(name)
            parts[key].append((shard.starts.get(name, 0), shape))
            if types.setdefault(key, dtype) != dtype:
                raise ValueError(f"have parts of {name} of several types")
            if name in shard.non_finite:
                bad[key[0]].add(key[1])
    joined: dict[str, Tensors] = {}
    for file in FILES.values():
        table = {
            name: (types[file, name], whole_shape(name, parts[file, name]))
            for at, name in parts
            if at == file
        }
        elements = sum(math.prod(shape) for _, shape in table.values())
        joined[file] = Tensors(table, elements, sorted(bad[file]))
    return joined


def join_files(blobs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The bytes of shards as those of the three files; anything else is returned unchanged.

    Raises:
        ValueError: see `join_tables`.
    """
    if not are_shards(blobs):
        return dict(blobs)
    found: dict[tuple[str, str], list[tuple[Part, str, bytes]]] = defaultdict(list)
    for blob in blobs.values():
        starts = row_starts(blob)
        for name, entry in deserialize(blob):  # type: ignore[no-untyped-call]
            part = starts.get(name, 0), tuple(entry["shape"])
            found[_place(name)].append((part, str(entry["dtype"]), bytes(entry["data"])))
    files: dict[str, dict[str, Whole]] = {name: {} for name in FILES.values()}
    for (file, name), several in sorted(found.items()):  # in the same order, whatever that of the shards
        several.sort(key=lambda each: each[0][0])
        shape = whole_shape(name, [part for part, _, _ in several])
        data = b"".join(data for _, _, data in several)  # rows follow each other
        files[file][name] = several[0][1], shape, data
    return {file: _written(content) for file, content in files.items()}


def _written(tensors: Mapping[str, Whole]) -> bytes:
    """A safetensors file: the length of a JSON header, the header padded with spaces, and the numbers.

    Written by hand, because the library takes numpy or torch arrays, and here are only type names and bytes.
    """
    header, end = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    return b"".join([len(words).to_bytes(8, "little"), words, *(data for _, _, data in tensors.values())])


def whole_shape(name: str, parts: list[Part]) -> tuple[int, ...]:
    """The shape of the tensor that these parts are rows of.

    Raises:
        ValueError: they leave a gap, overlap, or differ in more than rows.
    """
    if len(parts) == 1 and parts[0][0] == 0:
        return parts[0][1]
    row, rest = 0, parts[0][1][1:]
    for start, shape in sorted(parts):
        if start != row or not shape or shape[1:] != rest:
            raise ValueError(f"have parts of {name} that leave a gap, overlap or do not fit")
        row += shape[0]
    return (row, *rest)


def _place(name: str) -> tuple[str, str]:
    kind, slash, rest = name.partition("/")
    if not slash or kind not in FILES:
        raise ValueError(f"hold {name[:80]!r}, which belongs to no part of a training state")
    return FILES[kind], rest
