"""Footage as tokens and latent actions, stored once so that dynamics need not encode it at every step.

One `.npy` file per episode, (T, P + 1) uint16: the tokens of each frame, and in the last column the code of
the action that leads to the next frame (`NO_ACTION` after the last); behind it, the sha256 of all that. Files
appear whole, by one rename, so an interrupted run goes on with the missing episodes. The folder is named by a
hash of everything that the content depends on.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.data.clip import places_fingerprint
from terrarium.data.dataset import Episode
from terrarium.data.loader import ALL, ClipSampler, Rows
from terrarium.errors import DataError

NO_ACTION = 65535
_DIGEST_BYTES = hashlib.sha256().digest_size

Encode = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint16], NDArray[np.uint16]]]


@dataclass(frozen=True)
class TokenClips:
    """A batch of tokenized clips.

    Attributes:
        tokens_BTP: int64.
        actions_BT: int64, T - 1 codes; the one at t leads from frame t to t + 1.
        episode_B: as in `Clips`.
        start_B: as in `Clips`.
    """

    tokens_BTP: NDArray[np.int64]
    actions_BT: NDArray[np.int64]
    episode_B: NDArray[np.int64]
    start_B: NDArray[np.int64]

    def fingerprint(self) -> int:
        """A number below 2**32 that identifies these clips."""
        return places_fingerprint(self.episode_B, self.start_B)


class TokenStore:
    """The tokens of a dataset's episodes in a folder.

    Args:
        root: where stores lie.
        parts: what the content depends on: fingerprints of the footage and of the models that encode it.
        places: P, tokens per frame.
    """

    def __init__(self, root: Path, parts: Iterable[str], places: int) -> None:
        self.path = root / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self.places = places

    def fill(self, episodes: Sequence[Episode], encode: Encode, progress: Callable[[int, int], None]) -> None:
        """Encode the episodes that are missing.

        Args:
            episodes: to encode.
            encode: frames_THWC to tokens_TP and T - 1 action codes.
            progress: called with (episodes done, episodes in all).

        Raises:
            DataError: the disk can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        for done, episode in enumerate(episodes):
            progress(done, len(episodes))
            if not self._is_whole(episode):
                self._write(episode, *encode(episode.frames_THWC))
        progress(len(episodes), len(episodes))

    def read(self, episode: Episode) -> NDArray[np.uint16]:
        """Tokens and actions of an episode (T, P + 1), as a read-only memory map.

        Raises:
            DataError: it is missing or damaged.
        """
        try:
            stored: NDArray[np.uint16] = np.load(self._file(episode), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{self._file(episode)} can't be read: {error}", "Delete it and resume."
            ) from error
        if stored.shape != (len(episode), self.places + 1) or stored.dtype != np.uint16:
            raise DataError(
                f"{self._file(episode)} has the wrong shape {stored.shape}", "Delete it and resume."
            )
        return stored

    def _file(self, episode: Episode) -> Path:
        return self.path / f"episode-{episode.index:06d}.npy"

    def _is_whole(self, episode: Episode) -> bool:
        try:
            self.read(episode)
            content = self._file(episode).read_bytes()
        except (DataError, OSError):
            return False
        return hashlib.sha256(content[:-_DIGEST_BYTES]).digest() == content[-_DIGEST_BYTES:]

    def _write(self, episode: Episode, tokens_TP: NDArray[np.uint16], actions_T: NDArray[np.uint16]) -> None:
        last = np.array([NO_ACTION], dtype=np.uint16)
        columns = [tokens_TP, np.concatenate([actions_T, last])[:, None]]
        staging = self.path / f".staging-{episode.index:06d}.npy"
        try:
            content = io.BytesIO()
            np.save(content, np.concatenate(columns, axis=1), allow_pickle=False)
            staging.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
            staging.rename(self._file(episode))
        except OSError as error:
            staging.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        why = os.strerror(error.errno) if error.errno else str(error)
        return DataError(f"{self.path} can't be written: {why}", "Free some space and resume.")


class TokenSampler:
    """Draws tokenized clips: the same clips at the same steps as `ClipSampler` would.

    Args:
        store: a filled store.
        clips: says which clips are drawn.
        episodes: those that `clips` draws from.
    """

    def __init__(self, store: TokenStore, clips: ClipSampler, episodes: Sequence[Episode]) -> None:
        self._clips, self._store = clips, store
        self._episodes = {episode.index: episode for episode in episodes}
        for episode in episodes:
            store.read(episode)  # so that damage is found now, not hours later

    def batch(self, step: int, rows: Rows = ALL) -> TokenClips:
        """The batch of a step, always the same for the same step; or only some rows of it."""
        episode_B, start_B = (drawn[rows] for drawn in self._clips.draw(step))
        frames = self._clips.clip_frames
        pairs = zip(episode_B.tolist(), start_B.tolist(), strict=True)
        rows_BTP = np.stack([self._read(index, start, frames) for index, start in pairs])
        return TokenClips(rows_BTP[..., :-1], rows_BTP[:, :-1, -1], episode_B, start_B)

    def _read(self, index: int, start: int, frames: int) -> NDArray[np.int64]:
        """A copy, so that the map is closed again: each open one uses up one of few file handles."""
        return self._store.read(self._episodes[index])[start : start + frames].astype(np.int64)

    def identity(self, step: int) -> str:
        """A short text that names a step's batch."""
        return self._clips.identity(step)
