"""Which clips are drawn, and when: a batch is a pure function of (seed, stage, step).

So a resumed run draws exactly what it would have drawn anyway, without loader state in the checkpoint.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from terrarium.data.clip import Clips
from terrarium.data.dataset import Episode
from terrarium.errors import DataError

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)

Rows = slice | Sequence[int]
ALL = slice(None)

QUEUE_LENGTH = 2  # one batch ready, one being cut: more would only cost memory
LOOK_SECONDS = 0.2  # between two checks while waiting for a batch
LEAVE_SECONDS = 5.0  # to wait for a thread that hangs in reading; it holds nothing, and dies with the process


class ClipSampler:
    """Draws clips uniformly from all places where one can start.

    Args:
        episodes: footage; episodes shorter than a clip are left out.
        clip_frames: T, frames in a clip.
        batch_size: B, clips in a batch.
        seed: the run's seed, not negative.
        stage: the stage's name, so that stages draw independently.

    Raises:
        DataError: no episode is as long as a clip.
    """

    def __init__(
        self, episodes: Sequence[Episode], clip_frames: int, batch_size: int, seed: int, stage: str
    ) -> None:
        self.clip_frames, self.batch_size = clip_frames, batch_size
        self._key = (seed, zlib.crc32(stage.encode()))
        self._episodes = [episode for episode in episodes if len(episode) >= clip_frames]
        if not self._episodes:
            longest = max((len(episode) for episode in episodes), default=0)
            raise DataError(
                f"{stage} needs clips of {clip_frames} frames, but the longest episode has {longest}",
                f"Use longer footage, or fewer frames per clip: --set {stage}.clip_frames={max(longest, 1)}",
            )
        starts = [len(episode) - clip_frames + 1 for episode in self._episodes]
        self._first_start = np.concatenate([[0], np.cumsum(starts)]).astype(np.int64)
        self._by_index = {episode.index: episode for episode in self._episodes}
        self._index = np.array([episode.index for episode in self._episodes], dtype=np.int64)

    def draw(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The batch of a step without its frames: `episode_B` (Episode.index) and `start_B`."""
        generator = np.random.default_rng([*self._key, step])
        flat_B = generator.integers(0, self._first_start[-1], size=self.batch_size)
        place_B = np.searchsorted(self._first_start, flat_B, side="right") - 1
        return self._index[place_B], flat_B - self._first_start[place_B]

    def batch(self, step: int, rows: Rows = ALL) -> Clips:
        """The batch of a step, always the same for the same step; or only some rows of it."""
        episode_B, start_B = (drawn[rows] for drawn in self.draw(step))
        pairs = zip(episode_B.tolist(), start_B.tolist(), strict=True)
        clips = [
            self._by_index[index].frames_THWC[start : start + self.clip_frames] for index, start in pairs
        ]
        return Clips(np.stack(clips), episode_B, start_B)

    def identity(self, step: int) -> str:
        """A short text that names a step's batch as episode@start, for error messages."""
        episode_B, start_B = self.draw(step)
        places = [f"{index}@{start}" for index, start in zip(episode_B, start_B, strict=True)]
        rest = f" and {len(places) - 8} more" if len(places) > 8 else ""
        return f"step {step}: episodes {', '.join(places[:8])}{rest}"


class Batches(Protocol[Batch_co]):
    """Anything that can make the batch of a step."""

    def batch(self, step: int) -> Batch_co:
        """The batch of a step."""
        ...


class Prefetcher(Generic[Batch]):
    """Makes the batches of consecutive steps in a background thread, a little ahead of the consumer.

    Use it as a context manager and iterate over it once. An error in making a batch is raised in the consumer
    when that batch's turn comes.

    Args:
        batches: makes the batch of a step, a `ClipSampler` for instance.
        start_step: the first step.
        stop_step: one past the last step, or None to go on for ever.
        asked: why to end early, "" to go on; checked before each batch, and while waiting for one.
    """

    def __init__(
        self,
        batches: Batches[Batch],
        start_step: int,
        stop_step: int | None = None,
        asked: Callable[[], str] = lambda: "",
    ) -> None:
        self._batches, self._step, self._stop_step = batches, start_step, stop_step
        self._asked = asked
        self._queue: queue.Queue[tuple[Batch | None, BaseException | None]] = queue.Queue(QUEUE_LENGTH)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        while not self._closed.is_set() and not self._asked():
            try:
                batch, error = self._queue.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if error is not None:
                self.close()
                raise error
            if batch is None:
                self.close()
                return
            yield batch

    def close(self) -> None:
        """Stop the thread and wait for it, but not for long if it hangs; calling it twice is fine."""
        self._closed.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join(LEAVE_SECONDS)

    def _fill(self) -> None:
        step = self._step
        try:
            while self._stop_step is None or step < self._stop_step:
                if not self._put(self._batches.batch(step), None):
                    return
                step += 1
            self._put(None, None)
        except BaseException as error:  # whatever it is, the consumer must see it
            self._put(None, error)

    def _put(self, batch: Batch | None, error: BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put((batch, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def windows(episodes: Sequence[Episode], frames: int, stride: int) -> Iterator[tuple[Episode, int]]:
    """Every (episode, start) at which `frames` frames fit, `stride` apart: the same clips every time."""
    for episode in episodes:
        for start in range(0, len(episode) - frames + 1, stride):
            yield episode, start
