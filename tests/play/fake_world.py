"""A world without a model: its frames say which action was taken, how many steps after which start."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT, WIDTH, CONTEXT_FRAMES = 48, 64, 4
NO_ACTION = 255
LABELS = (
    "0 ~ MOVE_RIGHT 64 %",
    "1 ~ ATTACK 88 %",
    "2 ~ MOVE_LEFT 71 %",
    "3 ~ NOOP 52 %",
    "4 ~ MOVE_LEFT 38 %",
)
SPEED = {0: 4, 2: -4, 4: -2}


def draw(code: int, step: int, start: int, x: int) -> NDArray[np.uint8]:
    """A little scene, frame_HWC; its top left corner encodes (code, step, start)."""
    frame_HWC = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame_HWC[:] = np.linspace((70, 110, 170), (190, 150, 120), HEIGHT).astype(np.uint8)[:, None]
    frame_HWC[36:] = (60 + 40 * start, 90, 60)
    frame_HWC[26:36, x : x + 8] = (250, 220, 90)
    if code == 1:
        frame_HWC[10:26, x + 3 : x + 5] = (255, 90, 70)
    frame_HWC[:6, :6] = (code, step, start)
    return frame_HWC


def make_starts(count: int = 2) -> list[NDArray[np.uint8]]:
    """Clips frames_THWC to start from, told apart by the third channel of their corner."""
    return [np.stack([draw(NO_ACTION, 0, start, 28)] * CONTEXT_FRAMES) for start in range(count)]


class FakeWorld:
    """Steps in ``seconds``; code ``fails_on`` raises; refuses two steps at once over all its forks."""

    actions = 5
    height, width = HEIGHT, WIDTH
    context_frames = CONTEXT_FRAMES
    frames_per_second: float | None = 35.0

    def __init__(self, seconds: float = 0, fails_on: int | None = None) -> None:
        self.seconds = seconds
        self.fails_on = fails_on
        self.forks: list[FakeWorld] = []
        self.busy = threading.Lock()
        self.threads: set[int] = set()
        self.steps = 0
        self.start = 0
        self.x = 0

    def fork(self) -> FakeWorld:
        child = FakeWorld(self.seconds, self.fails_on)
        child.busy, child.threads = self.busy, self.threads
        self.forks.append(child)
        return child

    def reset(self, frames_THWC: NDArray[np.uint8]) -> None:
        self.start = int(frames_THWC[-1, 0, 0, 2])
        self.steps, self.x = 0, 28

    def step(self, code: int) -> NDArray[np.uint8]:
        assert self.busy.acquire(blocking=False), "two steps at once"
        try:
            self.threads.add(threading.get_ident())
            time.sleep(self.seconds)
            if code == self.fails_on:
                raise RuntimeError("a secret path")
            self.steps += 1
            self.x = int(np.clip(self.x + SPEED.get(code, 0), 0, WIDTH - 8))
            return draw(code, self.steps % 256, self.start, self.x)
        finally:
            self.busy.release()
