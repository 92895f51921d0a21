"""Stored footage, opened for reading: episodes as read-only memory maps, split once into train and held out.

A dataset is a folder: `dataset.json` (see `index`), `frames-00000.u8` and so on (raw uint8, N H W 3), and,
where the true actions are known, `actions-00000.i64`. Actions are for scoring only: nothing opens them before
`Episode.actions_T` is asked for, so a test can show that training never reads them.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.data.index import AGAIN, INDEX_NAME, EpisodeEntry, Index, Shard, parse_index
from terrarium.errors import DataError

MORE_FILES = "Raise the limit of open files (ulimit -n), or store the footage in fewer, larger files."


@dataclass(frozen=True)
class _StoredActions:
    """Where the actions of one episode are stored; nothing is read before `read`."""

    path: Path
    start: int
    frames: int
    shard_frames: int
    n_actions: int

    def read(self) -> NDArray[np.int64]:
        _check_file(self.path, self.shard_frames * 8)
        try:
            data = np.fromfile(self.path, dtype="<i8", count=self.frames, offset=self.start * 8)
        except OSError as error:
            raise DataError(f"{self.path} can't be read: {error.strerror}", AGAIN) from error
        if data.size != self.frames or data.min() < 0 or data.max() >= self.n_actions:
            raise DataError(f"{self.path} is damaged: an action outside 0-{self.n_actions - 1}", AGAIN)
        return data.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Episode:
    """An unbroken run of frames.

    Attributes:
        frames_THWC: uint8 RGB frames, a read-only slice of a memory map: only what is touched is read.
        source: what was recorded, for people to read.
        index: the episode's number in its dataset, counted over both splits.
    """

    frames_THWC: NDArray[np.uint8]
    source: str
    index: int
    _actions: _StoredActions | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return int(self.frames_THWC.shape[0])

    @property
    def actions_T(self) -> NDArray[np.int64] | None:
        """int64 true actions, one per frame, or None where unknown; action t leads from frame t to t+1.

        The action file is opened here and nowhere else.

        Raises:
            DataError: the action file is missing, of the wrong size, or holds impossible actions.
        """
        return None if self._actions is None else self._actions.read()


class Dataset:
    """Footage on disk.

    Attributes:
        path: the folder.
        train: the episodes to learn from.
        held_out: the episodes to score on, never to learn from.
        fingerprint: sha256 hex digest of the content; equal footage has equal fingerprints.
        height: pixels.
        width: pixels.
        frames_per_second: of the stored frames, or None where unknown.
        action_names: a name for each true action, or None where actions are unknown.
    """

    def __init__(self, path: Path, index: Index) -> None:
        self.path = path
        self.fingerprint = index.fingerprint
        self.source = index.source
        self.height, self.width = index.height, index.width
        self.frames_per_second = index.frames_per_second
        self.action_names = index.action_names
        shards = [_map_shard(path, shard, index) for shard in index.shards]
        episodes = [_episode(path, number, index, shards) for number in range(len(index.episodes))]
        pairs = list(zip(episodes, index.episodes, strict=True))
        self.train: Sequence[Episode] = tuple(episode for episode, entry in pairs if not entry.held_out)
        self.held_out: Sequence[Episode] = tuple(episode for episode, entry in pairs if entry.held_out)

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a dataset folder; frames are mapped, not read.

        Raises:
            DataError: the folder is missing or not a dataset, its index is damaged or of a newer format,
                or a frame file is missing or of the wrong size.
        """
        path = Path(path)
        return cls(path, parse_index(_read_index(path), str(path / INDEX_NAME)))

    @property
    def n_actions(self) -> int | None:
        """How many true actions there are, or None where they are unknown."""
        return None if self.action_names is None else len(self.action_names)

    def describe(self) -> str:
        """One line about the dataset, for people."""
        frames = sum(len(episode) for episode in (*self.train, *self.held_out))
        rate = f" at {self.frames_per_second:.4g} frames/s" if self.frames_per_second else ""
        actions = f", {self.n_actions} true actions" if self.n_actions else ""
        return (
            f"{self.source}: {frames} frames of {self.height}x{self.width}{rate}, {len(self.train)} episodes "
            f"to train on and {len(self.held_out)} held out{actions}, fingerprint {self.fingerprint[:12]}"
        )


def _read_index(path: Path) -> bytes:
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "doesn't exist"
        raise DataError(f"the dataset {path} {what}", "Make one with: terrarium record or terrarium ingest")
    file = path / INDEX_NAME
    if file.is_symlink() or not file.is_file():
        raise DataError(
            f"{path} is not a dataset: it has no {INDEX_NAME}",
            "Give a folder made by terrarium record or terrarium ingest.",
        )
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}", "Check its permissions.") from error


def _check_file(path: Path, size: int) -> None:
    """Refuse a file that is missing, of another size, or a link: a dataset's files must lie in its folder."""
    if path.is_symlink() or not path.is_file():
        raise DataError(f"{path} is missing", AGAIN)
    found = path.stat().st_size
    if found != size:
        raise DataError(f"{path} has {found} bytes where {size} are expected", AGAIN)


def _map_shard(path: Path, shard: Shard, index: Index) -> NDArray[np.uint8]:
    file = path / shard.file
    _check_file(file, shard.frames * index.frame_bytes)
    try:
        return np.memmap(file, dtype=np.uint8, mode="r", shape=(shard.frames, index.height, index.width, 3))
    except OSError as error:  # every mapped file stays open
        hint = MORE_FILES if error.errno == errno.EMFILE else "Check its permissions."
        raise DataError(f"{file} can't be read: {error.strerror}", hint) from error


def _episode(path: Path, number: int, index: Index, shards: Sequence[NDArray[np.uint8]]) -> Episode:
    entry = index.episodes[number]
    frames_THWC = shards[entry.shard][entry.start : entry.stop]
    return Episode(frames_THWC, entry.source, number, _stored_actions(path, entry, index))


def _stored_actions(path: Path, entry: EpisodeEntry, index: Index) -> _StoredActions | None:
    shard = index.shards[entry.shard]
    if shard.actions is None or index.action_names is None:
        return None
    return _StoredActions(
        path / shard.actions.file, entry.start, entry.frames, shard.frames, len(index.action_names)
    )
