"""Several visitors of one world: each gets a fork of it, and all take turns on one worker thread."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from terrarium.errors import PlayError
from terrarium.play.protocol import CLOSE_FULL, CLOSE_WORLD_FAILED, FarewellError, ShownFrame, encode_png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

Result = TypeVar("Result")

STEPS_AVERAGED = 30


class PlayableWorld(Protocol):
    """What play needs of a world; ``terrarium.models.world.World`` has it."""

    @property
    def actions(self) -> int:
        """The number of latent codes."""

    @property
    def height(self) -> int:
        """Rows of a frame, in pixels."""

    @property
    def width(self) -> int:
        """Columns of a frame, in pixels."""

    @property
    def context_frames(self) -> int:
        """How many past frames the world looks back on."""

    @property
    def frames_per_second(self) -> float | None:
        """The frame rate of the footage it was grown from, or None if unknown."""

    def fork(self) -> PlayableWorld:
        """An independent session that shares the weights."""

    def reset(self, frames_THWC: NDArray[np.uint8], /) -> None:
        """Start after these frames (uint8 RGB)."""

    def step(self, code: int, /) -> NDArray[np.uint8]:
        """Take latent action ``code`` and return the next frame_HWC (uint8 RGB)."""


class Starts:
    """Held-out clips to start from, handed out to visitors in turn.

    Args:
        clips: each frames_THWC, uint8 RGB, at least one frame, of the world's height and width.
        world: the world whose frame size they must have.

    Raises:
        PlayError: there are none, or one doesn't fit the world.
    """

    def __init__(self, clips: Sequence[NDArray[np.uint8]], world: PlayableWorld) -> None:
        if not clips:
            raise PlayError("there are no held-out frames to start from", "Record more episodes")
        for index, frames_THWC in enumerate(clips):
            _check_start(index, frames_THWC, world)
        self.clips = clips
        self._turns = itertools.cycle(range(len(clips)))

    def take(self) -> tuple[int, NDArray[np.uint8]]:
        """The next start: its index and its frames_THWC."""
        index = next(self._turns)
        return index, self.clips[index]


def _check_start(index: int, frames_THWC: NDArray[np.uint8], world: PlayableWorld) -> None:
    expected = f"uint8 frames of {world.height}x{world.width}x3"
    fits = frames_THWC.ndim == 4 and frames_THWC.shape[1:] == (world.height, world.width, 3)
    if not fits or len(frames_THWC) == 0 or frames_THWC.dtype != "uint8":
        found = f"{frames_THWC.dtype} of shape {frames_THWC.shape}"
        raise PlayError(
            f"start {index} is {found}, but the world needs {expected}", "Use the data it was grown from"
        )


class Session:
    """One visitor's world. Its methods run on the worker thread only.

    Args:
        world: this session's own fork of the served world.
        starts: shared by all sessions.
    """

    def __init__(self, world: PlayableWorld, starts: Starts) -> None:
        self.actions = world.actions
        self._world = world
        self._starts = starts
        self._start = 0
        self._frame = 0
        self._step_seconds: deque[float] = deque(maxlen=STEPS_AVERAGED)

    def reset(self) -> ShownFrame:
        """Go to the next start; shows its last real frame as frame 0."""
        self._start, frames_THWC = self._starts.take()
        began = time.perf_counter()
        self._world.reset(frames_THWC)
        self._frame = 0
        return self._show(frames_THWC[-1], time.perf_counter() - began)

    def step(self, code: int) -> ShownFrame:
        """Take one step with latent action ``code``, 0 <= code < actions."""
        began = time.perf_counter()
        frame_HWC = self._world.step(code)
        seconds = time.perf_counter() - began
        self._step_seconds.append(seconds)
        self._frame += 1
        return self._show(frame_HWC, seconds)

    def _show(self, frame_HWC: NDArray[np.uint8], seconds: float) -> ShownFrame:
        total = sum(self._step_seconds)
        rate = len(self._step_seconds) / total if total > 0 else None
        return ShownFrame(self._frame, seconds * 1000, rate, self._start, encode_png(frame_HWC))


class Sessions:
    """Opens sessions up to a limit and runs their model work one piece at a time, first come, first served.

    Every session has at most one request in the queue, so this also means that each gets its turn; one thread
    is enough, because the model's operations already use all CPU cores.

    Args:
        world: only forked, never stepped itself.
        starts: where sessions begin.
        max_sessions: at most this many at once, >= 1; each holds a cache of past frames.
    """

    def __init__(self, world: PlayableWorld, starts: Starts, *, max_sessions: int) -> None:
        self.max_sessions = max_sessions
        self.open = 0
        self._world = world
        self._starts = starts
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="world")

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Session]:
        """A session for the duration of the ``async with``.

        Raises:
            FarewellError: no more sessions are allowed.
        """
        if self.open >= self.max_sessions:
            seats = "one visitor" if self.max_sessions == 1 else f"{self.max_sessions} visitors"
            raise FarewellError(CLOSE_FULL, f"this world takes {seats} at a time; try again later")
        self.open += 1
        try:
            yield await self.run(lambda: Session(self._world.fork(), self._starts))
        finally:
            self.open -= 1

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do ``work`` on the worker thread, after all earlier requests.

        Raises:
            FarewellError: the world failed; the details go to the log, not to the visitor.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except Exception as error:
            log.exception("the world failed at a visitor's request")
            reason = "the world failed at this request; the server's log says why"
            raise FarewellError(CLOSE_WORLD_FAILED, reason) from error

    def close(self) -> None:
        """End the worker thread once it has finished what it is doing."""
        self._worker.shutdown(cancel_futures=True)
