"""Writing a dataset: frames are hashed as they stream in; the folder appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from terrarium.data.index import FORMAT, INDEX_NAME, MAX_RATE, MAX_SIDE, EpisodeEntry, Index, Shard
from terrarium.data.shard import HashedFile, OpenShard
from terrarium.data.split import split
from terrarium.data.staging import StagedFolder, check_room, write_error
from terrarium.errors import DataError


class DatasetWriter:
    """Writes a dataset folder; use it as a context manager.

    On a clean exit it chooses the held-out episodes and renames the finished folder into place. On any
    exception, Ctrl-C included, nothing is left behind.

    Args:
        path: the folder to make; it must not exist, or be empty.
        height: of every frame, pixels.
        width: of every frame, pixels.
        frames_per_second: of the stored frames, or None where unknown.
        source: what the footage shows, for people; may be changed until the writer is left.
        seed: of the choice of held-out episodes.
        held_out_fraction: of the frames, above 0 and at most 0.5.
        action_names: a name for each true action, where episodes come with actions.
        shard_bytes: a frame file that has grown to this size is closed and the next one begun.
        expected_frames: if known, so that a lack of disk space is noticed before the work begins.

    Raises:
        DataError: the target exists, the disk has no room, or the footage can't be split.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        frames_per_second: float | None,
        source: str,
        seed: int = 0,
        held_out_fraction: float = 0.1,
        action_names: Iterable[str] | None = None,
        shard_bytes: int = 1 << 30,
        expected_frames: int = 0,
    ) -> None:
        _check_settings(height, width, frames_per_second, held_out_fraction)
        self._path = Path(path)
        self._frame_shape = (height, width, 3)
        self._frames_per_second, self.source = frames_per_second, source
        self._seed, self._held_out_fraction = seed, held_out_fraction
        self._action_names = None if action_names is None else tuple(name[:500] for name in action_names)
        self._shard_bytes, self._expected_frames = shard_bytes, expected_frames
        self._episodes: list[EpisodeEntry] = []
        self._shards: list[Shard] = []
        self._open: OpenShard | None = None
        self._half_written = False

    def __enter__(self) -> Self:
        self._folder = StagedFolder(self._path)
        try:
            check_room(self._folder.path.parent, self._expected_frames * int(np.prod(self._frame_shape)))
        except BaseException:
            self._folder.discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
        except OSError as failure:
            raise write_error(failure, self._folder.target.parent, 0) from failure
        finally:
            if self._open is not None:
                self._open.abandon()
            self._folder.discard()  # does nothing to a folder that was committed

    @property
    def frames_written(self) -> int:
        """Frames stored so far, over all episodes."""
        return sum(episode.frames for episode in self._episodes)

    def add_episode(
        self,
        frames_THWC: Iterable[NDArray[np.uint8]],
        actions_T: ArrayLike | None = None,
        source: str = "",
    ) -> int:
        """Store one unbroken run of frames; an empty one is ignored.

        Args:
            frames_THWC: uint8 RGB frames, as one array or one by one.
            actions_T: the true action taken on each frame, an index into `action_names`; either all episodes
                of a dataset have actions, or none.
            source: what this episode shows; the dataset's own source by default.

        Returns:
            The number of frames stored.

        Raises:
            DataError: frames of the wrong shape or type, actions that don't fit, or a full disk.
        """
        if (actions_T is None) != (self._action_names is None):
            raise DataError(
                "episodes with and without actions can't be mixed", "Give both actions_T and action_names."
            )
        self._half_written = True  # so that a caller who swallows an error can't commit half an episode
        shard = self._shard()
        start = shard.frames
        for frame_HWC in frames_THWC:
            shard.write_frame(np.asarray(frame_HWC))
        if actions_T is not None:
            shard.write_actions(np.asarray(actions_T), shard.frames - start)
        if shard.frames > start:
            self._episodes.append(self._entry(start, shard.frames - start, source or self.source))
        self._half_written = False
        return shard.frames - start

    def _shard(self) -> OpenShard:
        if self._open is not None and self._open.frames and self._open.bytes >= self._shard_bytes:
            self._shards.append(self._open.close())
            self._open = None
        if self._open is None:
            n_actions = None if self._action_names is None else len(self._action_names)
            self._open = OpenShard(self._folder.path, len(self._shards), self._frame_shape, n_actions)
        return self._open

    def _entry(self, start: int, frames: int, source: str) -> EpisodeEntry:
        return EpisodeEntry(
            shard=len(self._shards), start=start, frames=frames, held_out=False, source=source[:500]
        )

    def _commit(self) -> None:
        if self._half_written:
            raise DataError("an episode was only half written", "Leave the writer when an episode fails.")
        if self._open is not None:
            if self._open.frames:
                self._shards.append(self._open.close())
            else:
                self._open.abandon()
            self._open = None
        text = self._index().to_json().encode()
        file = HashedFile(self._folder.path / INDEX_NAME)
        try:
            file.write(text)
            file.close()
        finally:
            file.abandon()
        self._folder.commit()

    def _index(self) -> Index:
        height, width, _ = self._frame_shape
        return Index(
            format=FORMAT,
            source=self.source[:500],
            frames_per_second=self._frames_per_second,
            height=height,
            width=width,
            action_names=self._action_names,
            episodes=split(self._episodes, self._held_out_fraction, self._seed),
            shards=tuple(self._shards),
        )


def _check_settings(height: int, width: int, rate: float | None, fraction: float) -> None:
    """Refuse up front what the index would refuse at the end."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise DataError(f"frames of {height}x{width} can't be stored", f"A side has 1 to {MAX_SIDE} pixels.")
    if rate is not None and not 0 < rate <= MAX_RATE:
        raise DataError(f"{rate} frames per second can't be stored", f"Give more than 0, at most {MAX_RATE}.")
    if not 0 < fraction <= 0.5:
        raise DataError(f"held_out_fraction is {fraction}", "Give more than 0, at most 0.5.")
