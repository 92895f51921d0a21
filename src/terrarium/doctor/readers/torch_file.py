"""What a file of `torch.save` holds, without torch: the zip archive, and the older stream of pickles."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from terrarium.doctor.readers.file_window import Window
from terrarium.doctor.readers.inert_pickle import MOST_BYTES, Unpickled, unpickle
from terrarium.doctor.readers.tensor_bytes import Place, SeenTensor, look
from terrarium.doctor.readers.tensor_places import Stored, place_tensors
from terrarium.run.disk import shown
from terrarium.run.flaw import Flaw

ZIP_MAGIC, ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_ZIP_END_BYTES = 22
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_BROKEN_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, LookupError, struct.error)


@dataclass(frozen=True)
class Contents:
    """What a file of tensors holds.

    Attributes:
        value: the saved object, inert: see `inert_objects`; for safetensors its metadata.
        tensors: all tensors in it.
        dangerous: globals in it that are known to run something on loading.
    """

    value: object
    tensors: tuple[SeenTensor, ...]
    dangerous: tuple[str, ...] = ()


def read_torch(window: Window, *, deep: bool) -> Contents:
    """Read what `torch.save` wrote, or a plain pickle.

    Args:
        window: the file.
        deep: look at every byte and checksum, not only at the directory, the pickle and the sizes.

    Raises:
        Flaw: it is "damaged", "unreadable" (of a kind that is not known), or "too-large".
    """
    if window.size == 0:
        raise Flaw("0 bytes")
    tail = min(window.size, _ZIP_END_BYTES)
    is_zip = window.exactly(0, min(4, window.size)) == ZIP_MAGIC
    if is_zip or window.exactly(window.size - tail, tail).startswith(ZIP_END):
        return _Archive(window).read(deep)
    return _read_stream(window, deep)


class _Archive:
    """The zip format: `<name>/data.pkl`, and the bytes of each storage, stored in `<name>/data/<key>`."""

    def __init__(self, window: Window) -> None:
        try:
            with zipfile.ZipFile(window) as archive:
                entries = archive.infolist()
        except _BROKEN_ZIP as error:
            raise Flaw(f"zip: {str(error)[:100]}") from error
        self.window = window
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise Flaw("zip: a name occurs twice")
        if any(entry.compress_type or entry.flag_bits & 1 for entry in entries):
            raise Flaw("zip: compressed or encrypted", "unreadable")
        if sum(entry.file_size for entry in entries) > window.size:
            raise Flaw("zip: claims more bytes than there are")
        pickles = [name for name in self.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Flaw("zip: no data.pkl", "unreadable")
        self.root = pickles[0].removesuffix("data.pkl")
        # torch can be told to leave out the checksums: then every one of them is 0
        self.has_checksums = any(entry.CRC for entry in entries)

    def read(self, deep: bool) -> Contents:
        """What the archive holds."""
        pickled = unpickle(self.content("data.pkl"))
        if f"{self.root}byteorder" in self.entries and self.content("byteorder") != b"little":
            raise Flaw("byteorder", "unreadable")
        tensors, stored = place_tensors(pickled.value)
        self.check_sizes(stored)
        if deep:
            places = {f"{self.root}data/{key}": storage.places for key, storage in stored.items()}
            for name in self.entries:
                self.check(name, places.get(name, ()))
        return Contents(pickled.value, tensors, pickled.dangerous)

    def content(self, short_name: str) -> bytes:
        """A small member as a whole, its checksum compared."""
        name = self.root + short_name
        member = self.member(name)
        if member.size > MOST_BYTES:
            raise Flaw(f"{short_name}: {member.size} bytes", "too-large")
        self.check(name)
        return b"".join(chunk for _, chunk in member.chunks())

    def check_sizes(self, stored: Mapping[str, Stored]) -> None:
        for key, storage in stored.items():
            entry = self.entries.get(f"{self.root}data/{key}")
            if entry is None:
                raise Flaw(f"data/{key[:40]} is missing")
            if storage.size not in (None, entry.file_size):
                raise Flaw(f"data/{key[:40]}: {entry.file_size} of {storage.size} bytes")

    def check(self, name: str, places: Iterable[Place] = ()) -> None:
        """Read a member, look at the tensors in it, and compare its checksum."""
        checksum, expected = look(self.member(name), list(places)), self.entries[name].CRC
        if self.has_checksums and checksum != expected:
            raise Flaw(f"{name.removeprefix(self.root)[:60]}: CRC-32 {checksum:08x}, {expected:08x}")

    def member(self, name: str) -> Window:
        """The bytes of a member, where its own header says."""
        entry = self.entries[name]
        start = entry.header_offset + _LOCAL_HEADER.size
        header = self.window.exactly(entry.header_offset, _LOCAL_HEADER.size)
        magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        if magic != ZIP_MAGIC or self.window.exactly(start, name_bytes) != entry.orig_filename.encode():
            raise Flaw(f"zip: {shown(name)}")
        return self.window.part(start + name_bytes + extra_bytes, entry.file_size)


def _read_stream(window: Window, deep: bool) -> Contents:
    """The old format: pickles of magic number, version, system, object and keys, then the storages."""
    content = window.exactly(0, min(window.size, MOST_BYTES))
    first = unpickle(content)
    if first.value != LEGACY_MAGIC:
        return _plain_pickle(first, window.size)
    pickles, position = list[Unpickled](), first.length
    for _ in range(4):
        pickles.append(unpickle(content, position))
        position += pickles[-1].length
    value, keys = pickles[2].value, pickles[3].value
    tensors, stored = place_tensors(value)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Flaw("storage keys")
    for key in keys:
        storage = stored.pop(key, Stored())
        if storage.size is None:
            raise Flaw(f"storage {key[:40]} of an unknown type", "unreadable")
        if int.from_bytes(window.exactly(position, 8), "little") != storage.elements:
            raise Flaw(f"storage {key[:40]}: not of {storage.elements} elements")
        region = window.part(position + 8, storage.size)
        if deep:
            look(region, storage.places)
        position += 8 + storage.size
    if stored or position != window.size:
        raise Flaw(f"{window.size} of {position} bytes")
    dangerous = [name for pickled in (first, *pickles) for name in pickled.dangerous]
    return Contents(value, tensors, tuple(dict.fromkeys(dangerous)))


def _plain_pickle(pickled: Unpickled, size: int) -> Contents:
    tensors, stored = place_tensors(pickled.value)
    if stored or pickled.length != size:
        raise Flaw(f"pickle: {pickled.length} of {size} bytes")
    return Contents(pickled.value, tensors, pickled.dangerous)
