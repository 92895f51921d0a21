"""Text that somebody else wrote: any Unicode encoding, perhaps compressed, lines of bounded length."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from terrarium.doctor.readers.table import Table
from terrarium.run import disk

LONGEST_LINE = 2**18
MOST_CHARACTERS = 2**31
"""Of one file, after decompression; what lies beyond counts as lost."""
HEAD_BYTES = 2**16

_GZIP = b"\x1f\x8b\x08"
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DAMAGE = (OSError, EOFError, zlib.error)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a regular file as text; bytes that are no text become U+FFFD.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    with os.fdopen(disk.open_regular(path), "rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
        try:
            encoding = encoding_of(stream.read(HEAD_BYTES))
        except _DAMAGE:
            encoding = "utf-8"
        stream.seek(0)
        with io.TextIOWrapper(stream, encoding=encoding, errors="replace") as text:
            yield text


def last_lines(path: Path, limit: int) -> tuple[bytes, bool]:
    """The last whole lines of a regular file, `limit` bytes at most, and whether there are more before them.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    with os.fdopen(disk.open_regular(path), "rb") as file:
        begin = max(0, os.fstat(file.fileno()).st_size - limit)
        file.seek(begin)
        content = file.read(limit)
    return (content[content.find(b"\n") + 1 :], True) if begin else (content, False)


def encoding_of(head: bytes) -> str:
    """UTF-8, or UTF-16 as its mark or the zeros between plain letters tell."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    even, odd = head[:200:2], head[1:200:2]
    if len(odd) > 1 and not any(odd) and all(even):
        return "utf-16-le"
    return "utf-16-be" if len(odd) > 1 and not any(even) and all(odd) else "utf-8"


def lines(text: TextIO, table: Table) -> Iterator[str]:
    """Lines that are not blank; one too long comes out in pieces. What can't be read counts as lost."""
    left = MOST_CHARACTERS
    try:
        while line := text.readline(LONGEST_LINE):
            left -= len(line)
            if left < 0 or table.full:
                table.lose(1, len(line))
                return
            if not line.isspace():
                yield line
    except _DAMAGE:  # a compressed file that is torn or damaged
        table.lose(1)


def blocks(text: TextIO, table: Table, size: int) -> Iterator[str]:
    """The text in blocks of at most `size` characters. What can't be read counts as lost."""
    left = MOST_CHARACTERS
    try:
        while block := text.read(size):
            left -= len(block)
            if left < 0 or table.full:
                table.lose(1, len(block))
                return
            yield block
    except _DAMAGE:
        table.lose(1)
