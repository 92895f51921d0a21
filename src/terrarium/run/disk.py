"""Durable writes, bounded reads and strict JSON, for all other modules of the run folder."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import signal
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

# enough for a table of every parameter many times over
MAX_JSON_BYTES = 64 * 2**20
_TEMPORARY = re.compile(r"\..+\.([0-9]{1,9})\.tmp")


def now() -> str:
    """The current time, UTC, ISO 8601, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def failpoint(name: str) -> None:
    """Kill this process at once if `TERRARIUM_FAILPOINT` is `name`: tests die at exact places this way."""
    if os.environ.get("TERRARIUM_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def why(error: OSError) -> str:
    """The reason in words, such as "No space left on device"."""
    return error.strerror or str(error)


def shown(value: object) -> str:
    """A value from an untrusted file, fit to be printed: short, ASCII, one line."""
    try:
        text = ascii(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def sync_folder(path: Path) -> None:
    """Make renames and new names in `path` survive a power cut.

    Raises:
        OSError: the disk can't be written.
    """
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make what was written to a file survive a power cut.

    Raises:
        OSError: it is missing, or the disk can't be written.
    """
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        OSError: the disk is full or can't be written; a part of the file may be left.
    """
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def is_torn(path: Path) -> bool:
    """Whether the last line of a file has no end, so that the next one would be glued to it.

    Raises:
        OSError: it can't be read.
    """
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def append_durably(path: Path, content: bytes) -> None:
    """Append to a file, creating it if need be, and wait until it is on the disk.

    Raises:
        OSError: the disk is full or can't be written; a part of it may be left.
    """
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """The hidden neighbour that a file is written to before it is renamed to `path`."""
    return path.with_name(f".{path.name.removeprefix('.')}.{os.getpid()}.tmp")


def is_another_alive(pid: int) -> bool:
    """Whether a process of this machine, and not this one, has this id."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def sweep(folder: Path) -> None:
    """Remove, in a folder and all below it, what `write_atomically` left where it was killed.

    Raises:
        OSError: the folder can't be written.
    """
    for path in folder.rglob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not is_another_alive(int(match[1])):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a kill leaves either the old content or the new one.

    Raises:
        OSError: the disk is full or can't be written; the old file is untouched.
    """
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)  # left by an earlier process with the same id
    try:
        write_durably(temporary, content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_regular(path: Path) -> int:
    """Open a regular file for reading; a symlink could lead elsewhere, and a pipe could hang.

    Returns:
        A file descriptor; the caller closes it.

    Raises:
        OSError: it is missing, a symlink or unreadable.
        ValueError: it is something other than a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            words = "it is a symlink, and none is followed"
            raise OSError(errno.ELOOP, words, str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is not a regular file")
    return descriptor


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        OSError: it is missing, a symlink or unreadable.
        ValueError: it is not a regular file, or larger than `limit`.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, limit) + 1)  # one byte more, to notice a file that grows meanwhile
    if len(content) > limit:
        raise ValueError(f"is larger than the {limit} bytes allowed")
    return content


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is no number in JSON")


def _finite_float(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(f"{token[:20]} is too large a number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_float)


def parse_json(content: bytes) -> object:
    """Parse strict JSON: UTF-8, no NaN or Infinity, no number that overflows, no excessive nesting.

    Raises:
        ValueError: `content` is anything else.
    """
    try:
        return _DECODER.decode(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is not strict JSON: {error}") from error


def without_non_finite(value: object) -> object:
    """A copy in which every NaN and infinity is None, because JSON can't express them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_non_finite(item) for item in value]
    return value


def dump_json(value: object, *, indent: int | None = None) -> bytes:
    """Strict JSON with a newline at its end.

    Raises:
        ValueError: a number is not finite, or the value contains itself or is nested too deeply.
        TypeError: it holds something that JSON can't express.
    """
    try:
        return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
