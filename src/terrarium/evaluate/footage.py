"""Which footage is scored: frames, transitions and clips, spread evenly and the same ones every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Episode

MEAN_FRAMES = 1000  # enough for a mean frame that more would not change by a grey level
CHUNK = 128  # frames read at once


@dataclass(frozen=True)
class Place:
    """A stretch of footage.

    Attributes:
        episode: of which.
        start: its first frame.
        frames: how many.
    """

    episode: Episode
    start: int
    frames: int


@dataclass(frozen=True)
class Clip(Place):
    """A stretch whose beginning the world is shown and whose rest it must dream.

    Attributes:
        context: how many frames it is shown, at least 1.
    """

    context: int


def spread_places(episodes: Sequence[Episode], frames: int, count: int) -> list[Place]:
    """At most `count` stretches of so many frames, evenly spaced over all where one could start."""
    starts = [max(0, len(episode) - frames + 1) for episode in episodes]
    first_start = np.concatenate([[0], np.cumsum(starts)])
    total = int(first_start[-1])
    chosen = evenly(total, count)
    numbers = np.searchsorted(first_start, chosen, side="right") - 1
    return [
        Place(episodes[number], int(flat - first_start[number]), frames)
        for number, flat in zip(numbers.tolist(), chosen.tolist(), strict=True)
    ]


def spread_clips(episodes: Sequence[Episode], context: int, horizon: int, count: int) -> list[Clip]:
    """At most `count` clips to dream `horizon` frames of, spread over all episodes as equally as they allow.

    Dreamed parts of one episode never overlap. An episode that is too short for the whole context gives one
    clip with as much as it has, at least one frame; one of `horizon` frames or fewer gives none.
    """
    usable = [episode for episode in episodes if len(episode) > horizon]
    usable = [usable[number] for number in evenly(len(usable), count).tolist()]
    shown = [min(context, len(episode) - horizon) for episode in usable]
    starts = [
        range(0, len(episode) - horizon - seen + 1, horizon)
        for episode, seen in zip(usable, shown, strict=True)
    ]
    shares = _equal_shares([len(places) for places in starts], count)
    return [
        Clip(episode, places[number], seen + horizon, seen)
        for episode, seen, places, share in zip(usable, shown, starts, shares, strict=True)
        for number in evenly(len(places), share).tolist()
    ]


def evenly(total: int, count: int) -> NDArray[np.int64]:
    """At most `count` of the numbers 0 to `total` - 1, evenly spaced, each at most once."""
    count = min(total, count)
    return (np.arange(count, dtype=np.int64) * 2 + 1) * total // (2 * max(count, 1))


def batches(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Clips of equal context together, at most `size` at once."""
    for _, group in groupby(sorted(clips, key=lambda clip: clip.context), key=lambda clip: clip.context):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def read(places: Sequence[Place]) -> NDArray[np.uint8]:
    """The frames of stretches of equal length (B, T, H, W, 3)."""
    return np.stack([place.episode.frames_THWC[place.start : place.start + place.frames] for place in places])


def chunks(places: Sequence[Place], size: int = CHUNK) -> Iterator[NDArray[np.uint8]]:
    """The frames of many stretches, a few at once (B, T, H, W, 3)."""
    for start in range(0, len(places), size):
        yield read(places[start : start + size])


def first_actions(places: Sequence[Place]) -> NDArray[np.int64]:
    """The true action taken on the first frame of each stretch (N,); the footage must have actions."""
    actions_of = actions_by_episode([place.episode for place in places])
    return np.array([actions_of[place.episode.index][place.start] for place in places], dtype=np.int64)


def actions_by_episode(episodes: Sequence[Episode]) -> dict[int, NDArray[np.int64]]:
    """`Episode.index` -> its true actions, each file read once; episodes without actions are left out."""
    once = {episode.index: episode for episode in episodes}
    read_T = {index: episode.actions_T for index, episode in once.items()}
    return {index: actions_T for index, actions_T in read_T.items() if actions_T is not None}


def mean_frame(episodes: Sequence[Episode]) -> NDArray[np.uint8]:
    """The mean (H, W, 3) of frames spread over the episodes, rounded."""
    places = spread_places(episodes, 1, MEAN_FRAMES)
    total_HWC = sum(frames_B1HWC.sum((0, 1), dtype=np.int64) for frames_B1HWC in chunks(places))
    mean_HWC: NDArray[np.uint8] = np.rint(total_HWC / len(places)).astype(np.uint8)
    return mean_HWC


def _equal_shares(available: Sequence[int], count: int) -> list[int]:
    """How many to take of each, as equal as what there is allows, `count` in all."""
    shares = [0] * len(available)
    left = min(count, sum(available))
    while left:
        for number, most in enumerate(available):
            if left and shares[number] < most:
                shares[number] += 1
                left -= 1
    return shares
