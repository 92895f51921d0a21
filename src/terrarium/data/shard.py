"""One file of frames, and of their actions, being written: hashed as it grows, synced when it is closed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.data.index import ActionFile, Shard
from terrarium.data.staging import write_error
from terrarium.errors import DataError


class HashedFile:
    """A new file that knows the sha256 of what was written to it.

    Raises:
        DataError: from `write` and `close`, on a full disk for instance.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        try:
            self._file.write(data)
        except OSError as error:
            raise write_error(error, self.path.parent.parent, len(data)) from error
        self._hash.update(data)

    def close(self) -> None:
        """Make everything durable."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(error, self.path.parent.parent, 0) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without making anything durable."""
        with contextlib.suppress(OSError):  # what could not be flushed raises again here
            self._file.close()

    @property
    def sha256(self) -> str:
        """Hex digest of everything written so far."""
        return self._hash.hexdigest()


class OpenShard:
    """A shard that episodes are appended to.

    Args:
        folder: where its files are made.
        number: of the shard in its dataset.
        frame_shape: (height, width, 3).
        n_actions: how many true actions there are, or None to store no actions.
    """

    def __init__(
        self, folder: Path, number: int, frame_shape: tuple[int, int, int], n_actions: int | None
    ) -> None:
        self.frames = 0
        self._frame_shape, self._n_actions = frame_shape, n_actions
        self._frame_file = HashedFile(folder / f"frames-{number:05d}.u8")
        self._action_file = None if n_actions is None else HashedFile(folder / f"actions-{number:05d}.i64")

    @property
    def bytes(self) -> int:
        """Size of the frames so far."""
        return self.frames * int(np.prod(self._frame_shape))

    def write_frame(self, frame_HWC: NDArray[np.uint8]) -> None:
        """Append one frame.

        Raises:
            DataError: wrong shape or type, or a full disk.
        """
        if frame_HWC.shape != self._frame_shape or frame_HWC.dtype != np.uint8:
            raise DataError(
                f"a frame of shape {frame_HWC.shape} and type {frame_HWC.dtype} was given",
                f"This dataset takes uint8 frames of shape {self._frame_shape}.",
            )
        self._frame_file.write(frame_HWC.tobytes())
        self.frames += 1

    def write_actions(self, actions_T: NDArray[np.int64], count: int) -> None:
        """Append the actions of the last `count` frames.

        Raises:
            DataError: not one integer per frame, or one outside the known actions, or a full disk.
        """
        if self._action_file is None or self._n_actions is None:
            raise DataError("actions were given without names", "Name them with action_names.")
        if actions_T.shape != (count,) or not np.issubdtype(actions_T.dtype, np.integer):
            raise DataError(
                f"actions of shape {actions_T.shape} came with {count} frames", "Give one integer per frame."
            )
        if count and not 0 <= actions_T.min() <= actions_T.max() < self._n_actions:
            raise DataError("an action has no name", f"Actions go from 0 to {self._n_actions - 1} here.")
        self._action_file.write(actions_T.astype("<i8").tobytes())

    def close(self) -> Shard:
        """Make the files durable and describe them."""
        self._frame_file.close()
        actions = None
        if self._action_file is not None:
            self._action_file.close()
            actions = ActionFile(file=self._action_file.path.name, sha256=self._action_file.sha256)
        return Shard(
            file=self._frame_file.path.name,
            frames=self.frames,
            sha256=self._frame_file.sha256,
            actions=actions,
        )

    def abandon(self) -> None:
        """Close the files and remove them."""
        for file in (self._frame_file, self._action_file):
            if file is not None:
                file.abandon()
                file.path.unlink(missing_ok=True)
