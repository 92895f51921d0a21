"""One writer per run: a lock that the kernel releases, however the writer dies."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from terrarium.errors import RunError
from terrarium.run import disk

LOCK = ".lock"
_MAX_HOLDER_BYTES = 4096


class RunLock:
    """Holds `<run>/.lock` during a `with` block, or until this process dies.

    The file says who holds it, {"pid", "host", "started"}; the lock itself is the kernel's (`flock`), so a
    file left behind locks nothing. A forked child (a data loader's worker) does not inherit the lock: if it
    outlived its parent it would keep a dead run locked.

    The folder is locked too, where its disk can do that: somebody may remove the file while we work.

    Args:
        run_path: the folder of the run, made if missing, because a run is locked before it is begun.
    """

    def __init__(self, run_path: Path) -> None:
        self.path = run_path / LOCK
        self._descriptor = self._folder = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RunError: another process holds it (named by pid and host), or the folder can't be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock_folder()
            self._write_holder()
        except BlockingIOError:
            holder = self._read_holder()
            self._close()
            raise RunError(
                f"{self.path.parent} is being written by {holder}",
                "Wait for it or stop it, or choose another folder",
            ) from None
        except OSError as error:
            self._close()
            raise RunError(
                f"{self.path} can't be locked: {disk.why(error)}",
                "Choose a folder that you may write to, on a disk that supports locks",
            ) from error
        os.register_at_fork(after_in_child=self._close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _lock_folder(self) -> None:
        self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # some network disks lock only what is open for writing
            pass

    def _write_holder(self) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": disk.now()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, disk.dump_json(holder), 0)

    def _read_holder(self) -> str:
        try:
            holder = disk.parse_json(os.pread(self._descriptor, _MAX_HOLDER_BYTES, 0))
        except ValueError:
            holder = None
        match holder:
            case {"pid": int(pid), "host": str(host), "started": str(started)}:
                return f"process {pid} on {disk.shown(host)}, since {disk.shown(started)}"
        return "another process, which does not say its name"

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._folder = -1


def is_held(run_path: Path) -> bool | None:
    """Whether a process holds the lock of a run; None if there is no lock file, or it can't be opened.

    Both are opened for reading only, and the shared lock that asks is released at once.
    """
    try:
        folder = os.open(run_path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    if _is_locked(folder):
        return True
    try:
        return _is_locked(disk.open_regular(run_path / LOCK))
    except (OSError, ValueError):
        return None


def _is_locked(descriptor: int) -> bool | None:
    """Whether somebody holds a lock on a descriptor, which is then closed; None where it can't be told."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False
