"""Which footage is scored: clips to dream, and their true actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Episode
from terrarium.data.places import Place, evenly


@dataclass(frozen=True)
class Clip(Place):
    """A stretch of footage: the world is shown the beginning and must dream the rest.

    Attributes:
        context: how many frames it is shown, at least 1.
    """

    context: int


def spread_clips(episodes: Sequence[Episode], context: int, horizon: int, count: int) -> list[Clip]:
    """At most `count` clips whose last `horizon` frames are to be dreamed, spread evenly over episodes.

    Dreamed parts of one episode never overlap. An episode too short for the whole context gives one clip with
    as much context as it has, at least one frame; an episode of `horizon` frames or fewer gives none.
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


def batches(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    """Batches of clips of equal context, at most `size` each."""
    for _, group in groupby(sorted(clips, key=lambda clip: clip.context), key=lambda clip: clip.context):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def first_actions(places: Sequence[Place]) -> NDArray[np.int64]:
    """The true action taken on the first frame of each stretch (N,); the footage must have actions."""
    actions_of = actions_by_episode([place.episode for place in places])
    return np.array([actions_of[place.episode.index][place.start] for place in places], dtype=np.int64)


def actions_by_episode(episodes: Sequence[Episode]) -> dict[int, NDArray[np.int64]]:
    """`Episode.index` -> its true actions, each file read once; episodes without actions are left out."""
    once = {episode.index: episode for episode in episodes}
    read_T = {index: episode.actions_T for index, episode in once.items()}
    return {index: actions_T for index, actions_T in read_T.items() if actions_T is not None}


def _equal_shares(available: Sequence[int], count: int) -> list[int]:
    """How many to take of each, as equally as availability allows, `count` in all."""
    shares = [0] * len(available)
    left = min(count, sum(available))
    while left:
        for number, most in enumerate(available):
            if left and shares[number] < most:
                shares[number] += 1
                left -= 1
    return shares
