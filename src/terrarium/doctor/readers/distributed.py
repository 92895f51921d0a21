"""PyTorch's distributed checkpoints: a `.metadata` pickle that points into shards, `__<rank>_<n>.distcp`.

A shard is a row of blobs, each of them a file of `torch.save` of its own, with its own checksums.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from terrarium.doctor.readers.file_window import Window, open_window
from terrarium.doctor.readers.inert_objects import Global, Opaque
from terrarium.doctor.readers.inert_pickle import MOST_BYTES, unpickle
from terrarium.doctor.readers.tensor_bytes import SeenTensor
from terrarium.doctor.readers.tensor_places import sizes_of
from terrarium.doctor.readers.torch_file import ZIP_MAGIC, Contents, read_torch
from terrarium.run.flaw import Flaw
from terrarium.run.tensors import dtype_name

METADATA = ".metadata"
MOST_BLOBS = 20_000
_PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,200}")


class Blob(NamedTuple):
    """Where a shard holds one part of one item: bytes from `offset` on."""

    item: str
    offset: int
    length: int


def read_distributed(folder: Path, *, deep: bool) -> Contents:
    """Read a distributed checkpoint.

    Args:
        folder: holds `.metadata` and the shards.
        deep: read the shards, not only the metadata and their sizes.

    Raises:
        Flaw: it is "damaged", "unreadable", "too-large", or "incomplete" (a shard is missing).
    """
    with open_window(folder / METADATA) as window:
        if window.size > MOST_BYTES:
            raise Flaw(f"{METADATA}: {window.size} bytes", "too-large")
        pickled = unpickle(window.exactly(0, window.size))
    listed, shards = _parse(pickled.value)
    seen: list[SeenTensor] = []
    dangerous = list(pickled.dangerous)
    for name, blobs in sorted(shards.items()):
        try:
            with open_window(folder / name) as window:
                for contents in _shard(window, blobs, deep):
                    seen += contents.tensors
                    dangerous += contents.dangerous
        except Flaw as flaw:
            raise Flaw(f"{name}: {flaw}".removesuffix(": "), flaw.code) from flaw
    return Contents(pickled.value, tuple(seen if deep else listed), tuple(dict.fromkeys(dangerous)))


def _shard(window: Window, blobs: list[Blob], deep: bool) -> Iterator[Contents]:
    if sum(blob.length for blob in blobs) > window.size:
        raise Flaw(f"{window.size} of {sum(blob.length for blob in blobs)} bytes")
    for blob in blobs:
        part = window.part(blob.offset, blob.length)
        if deep and part.exactly(0, min(4, part.size)) == ZIP_MAGIC:  # else plain bytes, or compressed ones
            contents = read_torch(part, deep=True)
            for tensor in contents.tensors:
                tensor.path = (*blob.item.split(".", 8), *tensor.path)
            yield contents


def _parse(value: object) -> tuple[list[SeenTensor], dict[str, list[Blob]]]:
    """The tensors that the metadata lists, by their whole shapes, and the blobs by shard."""
    match value:
        case Opaque(state={"state_dict_metadata": dict(items), "storage_data": dict(places)}):
            if len(places) > MOST_BLOBS:
                raise Flaw(f"{METADATA}: {len(places)} parts", "too-large")
        case _:
            raise Flaw(METADATA, "unreadable")
    shards: dict[str, list[Blob]] = defaultdict(list)
    for index, place in places.items():
        name, blob = _blob(index, place)
        shards[name].append(blob)
    listed = [tensor for name, item in items.items() if (tensor := _listed(name, item)) is not None]
    return listed, shards


def _listed(name: object, item: object) -> SeenTensor | None:
    match name, item:
        case str(), Opaque(state={"size": size, "properties": Opaque(state=(Global(dtype), *_))}):
            return SeenTensor(tuple(name[:1000].split(".", 8)), dtype_name(dtype), sizes_of(size))
    return None


def _blob(index: object, place: object) -> tuple[str, Blob]:
    match index, place:
        case (
            Opaque(state={"fqn": str(item)}),
            Opaque(state={"relative_path": str(name), "offset": int(offset), "length": int(length)}),
        ) if _PLAIN_NAME.fullmatch(name):
            return name, Blob(item[:1000], offset, length)
    raise Flaw(f"{METADATA}: a part without a place", "unreadable")
