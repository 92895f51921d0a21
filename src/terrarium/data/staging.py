"""A folder that appears whole or not at all: built under a hidden sibling name, then renamed into place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path

from terrarium.errors import DataError
from terrarium.run import disk

ROOM_TO_SPARE = 16 << 20  # bytes kept free beside the frames, for the index, the actions and the file system


class StagedFolder:
    """A hidden folder beside its target, locked while its writer lives.

    The lock distinguishes a living writer's work from the leftovers of a killed one, which are removed.

    Args:
        target: where the folder will stand; it must not exist, or be an empty folder.

    Raises:
        DataError: the target exists, or the folder can't be made.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.absolute()
        if self.target.is_symlink() or (self.target.exists() and not _is_empty_folder(self.target)):
            raise DataError(f"{target} already exists", "Choose another folder, or remove it first.")
        new_parents = [parent for parent in self.target.parents if not parent.exists()]
        prefix = f".staging-{self.target.name}-"
        self.path = self.target.parent / f"{prefix}{secrets.token_hex(4)}"
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(self.target.parent, prefix)
            self.path.mkdir()
            self._lock = os.open(self.path, os.O_RDONLY)
            # Ctrl-C may interrupt the clean-up of an earlier failure: the rest is done at exit.
            self._clean_up = weakref.finalize(self, _remove, self.path, self._lock, new_parents)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{target} can't be made: {error.strerror}", "Choose another folder.") from error

    def commit(self) -> None:
        """Make the folder durable and rename it into place; the files in it must be synced already."""
        os.fsync(self._lock)
        if self.target.exists():
            self.target.rmdir()  # raises when something was put there meanwhile
        self.path.rename(self.target)
        self._clean_up.detach()
        disk.sync_folder(self.target.parent)
        os.close(self._lock)

    def discard(self) -> None:
        """Remove the folder and the parents made for it; does nothing after `commit`."""
        self._clean_up()


def _remove(path: Path, lock: int, new_parents: Sequence[Path]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.close(lock)
    with contextlib.suppress(OSError):  # a parent that holds something else by now stays
        for parent in new_parents:
            parent.rmdir()


def check_room(folder: Path, needed: int) -> None:
    """Refuse work that the disk of `folder` can't hold; `needed` is in bytes, 0 where unknown.

    Raises:
        DataError: there is less room than that.
    """
    free = shutil.disk_usage(folder).free
    if needed and needed + ROOM_TO_SPARE > free:
        raise _no_room(folder, needed + ROOM_TO_SPARE, free)


def write_error(error: OSError, folder: Path, needed: int) -> DataError:
    """What to tell the user when writing `needed` bytes below `folder` failed."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _no_room(folder, max(needed, 1), shutil.disk_usage(folder).free)
    return DataError(f"{folder} can't be written: {error.strerror}", "Choose another folder.")


def _no_room(folder: Path, needed: int, free: int) -> DataError:
    return DataError(
        f"no room for the footage in {folder}: {needed / (1 << 20):.1f} MB more needed, "
        f"{free / (1 << 20):.1f} MB free",
        "Free some space, choose another folder, or store fewer or smaller frames.",
    )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _sweep(parent: Path, prefix: str) -> None:
    for leftover in parent.glob(f"{_escape(prefix)}????????"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(descriptor)


def _escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
