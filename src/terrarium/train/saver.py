"""Saving in the background: the state is copied between two steps, and a thread writes the copy.

At most one save is under way: if the disk is slower than training, training waits. A failed save is never
swallowed: the next step reports it. Training then goes on to the next save, unless the state itself was
refused or too many saves failed in a row; the last save of a run must succeed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import safetensors.torch
from torch import Tensor

from terrarium.errors import CheckpointError, RefusedStateError
from terrarium.run.checkpoint import commit_checkpoint
from terrarium.run.folder import StageFolder

# shorter waits for the save before are not reported
BACKLOG = 0.1  # of the time since the last save
LEAST_BACKLOG = 0.5  # seconds

_ONE_AT_A_TIME = threading.Lock()  # two at once would remove each other's hidden folders


@dataclass(frozen=True)
class Snapshot:
    """A copy of a training state on the CPU; it shares nothing with the live one.

    Attributes:
        step: optimizer steps taken.
        files: file name -> tensor name -> tensor.
        state: everything else, fit for JSON.
    """

    step: int
    files: dict[str, dict[str, Tensor]]
    state: dict[str, object]


class Failures:
    """Counts saves that failed in a row; training tolerates some.

    Args:
        patience: how many of them stop training.
        say: told about those that do not.

    Attributes:
        newest: why the newest save failed, None where it didn't.
    """

    def __init__(self, patience: int, say: Callable[[str], None]) -> None:
        self.patience = patience
        self.newest: CheckpointError | None = None
        self._in_a_row, self._say = 0, say

    def add(self, error: CheckpointError) -> None:
        """One more failed.

        Raises:
            CheckpointError: that error, where it is one too many, or the state itself was refused.
        """
        self._in_a_row, self.newest = self._in_a_row + 1, error
        if isinstance(error, RefusedStateError) or self._in_a_row >= self.patience:
            raise error
        self._say(f"{error}. Training goes on; {self.patience - self._in_a_row} more may fail")

    def forget(self) -> None:
        """One did not."""
        self._in_a_row, self.newest = 0, None


class Saver:
    """Commits snapshots in a background thread; use it as a context manager, and call `check` at every step.

    Args:
        folder: the stage's folder.
        keep: see `commit_checkpoint`.
        patience: how many saves in a row may fail before training stops.
        say: prints a line about a save that failed.

    Attributes:
        saves: how many snapshots were committed.
        writer_seconds: CPU time of the thread.
    """

    def __init__(self, folder: StageFolder, keep: int, patience: int, say: Callable[[str], None]) -> None:
        self._folder, self._keep, self._say = folder, keep, say
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[Path] | None = None
        self._failures = Failures(patience, say)
        self._begun, self._told_backlog = time.monotonic(), False
        self.saves = 0
        self.writer_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is not None and self._pending is not None and (failure := self._pending.exception()):
            self._say(f"a checkpoint was not saved: {failure}")

    def save(self, take: Callable[[], Snapshot]) -> None:
        """Copy the state with `take` and begin to write it, after the save before has finished.

        Raises:
            CheckpointError: see `check`.
        """
        self.wait()
        self._begun = time.monotonic()
        self._pending = self._thread.submit(self._write, take())

    def wait(self) -> None:
        """Until the save that is under way, if there is one, is on the disk or has failed.

        Raises:
            CheckpointError: see `check`.
        """
        began = time.monotonic()
        self._collect()
        self._tell_backlog(time.monotonic() - began, began - self._begun)

    def check(self) -> None:
        """Raise the error of a save that failed.

        Raises:
            RefusedStateError: the state was empty, not finite or not the model.
            CheckpointError: too many saves failed in a row.
        """
        if self._pending is not None and self._pending.done():
            self._collect()

    def finish(self) -> None:
        """Wait until the last save is on the disk.

        Raises:
            CheckpointError: it failed.
        """
        self._failures.patience = 1
        self._collect()

    def _tell_backlog(self, waited: float, trained: float) -> None:
        """Say once that saving takes longer than the steps between two saves."""
        if waited > max(LEAST_BACKLOG, BACKLOG * trained) and not self._told_backlog:
            self._told_backlog = True
            self._say(
                f"the disk is slower than training: a save was due while the one before was still being "
                f"written: training waited for {waited:.1f} s. Raise checkpoint_every, or use another disk"
            )

    def _collect(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except CheckpointError as error:
            self._failures.add(error)
        except Exception as error:  # a bug in the writer, not the disk
            raise CheckpointError(
                f"a checkpoint was not saved, for its writer died: {error!r}",
                "Earlier checkpoints are untouched; resume from them",
            ) from error
        else:
            self.saves += 1
            self._failures.forget()

    def _write(self, snapshot: Snapshot) -> Path:
        began = time.thread_time()
        try:
            return commit(snapshot, self._folder, self._keep)
        finally:
            self.writer_seconds += time.thread_time() - began


def commit(snapshot: Snapshot, folder: StageFolder, keep: int) -> Path:
    """Save a snapshot in the foreground, after any other save of this process: see `commit_checkpoint`."""
    blobs = {name: safetensors.torch.save(tensors) for name, tensors in snapshot.files.items()}
    with _ONE_AT_A_TIME:
        return commit_checkpoint(folder, snapshot.step, blobs, state=snapshot.state, keep=keep)
