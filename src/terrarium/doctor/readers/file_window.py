"""A part of a file, read in bounded pieces: what lies around it does not exist for the reader."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terrarium.run import disk
from terrarium.run.flaw import Flaw

CHUNK_BYTES = 2**20
LARGEST_READ = 8 * 2**20
"""No directory of a zip file that is read at once is larger: room for 50,000 tensors."""


class Window(io.RawIOBase):
    """The bytes `start` to `start + size` of an open file, as a file of their own.

    It is read with `pread` and not mapped: a training that overwrites the file meanwhile would kill whoever
    has it mapped.
    """

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        super().__init__()
        self.size = size
        self._descriptor, self._start, self._position = descriptor, start, 0

    def part(self, start: int, size: int) -> Window:
        """A part of it.

        Raises:
            Flaw: it does not lie inside.
        """
        if start < 0 or size < 0 or start + size > self.size:
            raise Flaw(f"{start}+{size} bytes of {self.size}")
        return Window(self._descriptor, self._start + start, size)

    def seekable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in the window."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; ValueError where it lies before the start."""
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if position < 0:
            raise ValueError("lies before the start")
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left where it is negative.

        Raises:
            ValueError: more than `LARGEST_READ` at once.
        """
        left = max(0, self.size - self._position)
        size = left if size < 0 else min(size, left)
        if size > LARGEST_READ:
            raise ValueError(f"would have to read {size} bytes at once")
        content = os.pread(self._descriptor, size, self._start + self._position)
        self._position += len(content)
        return content

    def exactly(self, start: int, size: int) -> bytes:
        """The bytes from `start` on.

        Raises:
            Flaw: the file ends before.
        """
        if start < 0 or size < 0 or start + size > self.size:
            raise Flaw(f"{start}+{size} bytes of {self.size}")
        content = os.pread(self._descriptor, size, self._start + start)
        if len(content) != size:
            raise Flaw(f"{start}+{len(content)} bytes of {self.size}")
        return content

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """(offset, content) one piece of `CHUNK_BYTES` after the other.

        Raises:
            Flaw: the file ends before.
        """
        for offset in range(0, self.size, CHUNK_BYTES):
            yield offset, self.exactly(offset, min(CHUNK_BYTES, self.size - offset))


@contextmanager
def open_window(path: Path) -> Iterator[Window]:
    """The whole of a regular file; links are not followed.

    Raises:
        Flaw: it can't be read ("unreadable"), or is missing ("incomplete").
    """
    try:
        descriptor = disk.open_regular(path)
    except FileNotFoundError:
        raise Flaw("", "incomplete") from None
    except OSError as error:
        raise Flaw(disk.why(error), "unreadable") from error
    except ValueError as error:
        raise Flaw(str(error), "unreadable") from error
    try:
        yield Window(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        raise Flaw(disk.why(error), "unreadable") from error
    finally:
        os.close(descriptor)
