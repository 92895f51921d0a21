"""Stretches of footage, evenly spread and the same ones every time, read a few at a time.

So what looks at all footage (its mean frame, its scores) takes as much memory for a year of it as for an
hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Episode

MEAN_FRAMES = 1000  # more would not change the mean frame by a grey level
CHUNK = 128  # frames read at once


@dataclass(frozen=True)
class Place:
    """A stretch of footage.

    Attributes:
        episode: the episode.
        start: first frame, counted in the episode.
        frames: how many frames.
    """

    episode: Episode
    start: int
    frames: int


def spread_places(episodes: Sequence[Episode], frames: int, count: int) -> list[Place]:
    """At most `count` stretches of `frames` frames, evenly spaced over all places where one could start."""
    starts = [max(0, len(episode) - frames + 1) for episode in episodes]
    first_start = np.concatenate([[0], np.cumsum(starts)])
    total = int(first_start[-1])
    chosen = evenly(total, count)
    numbers = np.searchsorted(first_start, chosen, side="right") - 1
    return [
        Place(episodes[number], int(flat - first_start[number]), frames)
        for number, flat in zip(numbers.tolist(), chosen.tolist(), strict=True)
    ]


def evenly(total: int, count: int) -> NDArray[np.int64]:
    """At most `count` of the numbers 0 to `total` - 1, evenly spaced, each at most once."""
    count = min(total, count)
    return (np.arange(count, dtype=np.int64) * 2 + 1) * total // (2 * max(count, 1))


def read(places: Sequence[Place]) -> NDArray[np.uint8]:
    """The frames of stretches of equal length (B, T, H, W, 3)."""
    return np.stack([place.episode.frames_THWC[place.start : place.start + place.frames] for place in places])


def chunks(places: Sequence[Place], size: int = CHUNK) -> Iterator[NDArray[np.uint8]]:
    """The frames of many stretches, a few stretches at a time (B, T, H, W, 3)."""
    for start in range(0, len(places), size):
        yield read(places[start : start + size])


def mean_frame(episodes: Sequence[Episode]) -> NDArray[np.uint8]:
    """The mean (H, W, 3) of frames spread over the episodes, rounded."""
    places = spread_places(episodes, 1, MEAN_FRAMES)
    total_HWC = sum(frames_B1HWC.sum((0, 1), dtype=np.int64) for frames_B1HWC in chunks(places))
    mean_HWC: NDArray[np.uint8] = np.rint(total_HWC / len(places)).astype(np.uint8)
    return mean_HWC
