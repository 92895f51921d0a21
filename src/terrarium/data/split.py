"""Which episodes are held out for scoring: chosen once, by episode, when footage is stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from terrarium.data.index import EpisodeEntry
from terrarium.errors import DataError

MIN_PART_FRAMES = 2  # one transition on each side of the split: the least that can be trained on or scored


def split(episodes: Sequence[EpisodeEntry], fraction: float, seed: int) -> tuple[EpisodeEntry, ...]:
    """Mark about `fraction` of the frames held out, whole episodes at a time, at least one and never all.

    If whole episodes would give less than half or more than twice that (a single episode, or a few long
    ones), the tail of the longest is held out instead. It is cut once only, because neighbouring frames would
    leak across every cut.

    Args:
        episodes: all episodes, none held out.
        fraction: of all frames, above 0 and at most 0.5.
        seed: of the choice.

    Raises:
        DataError: there are no episodes, or a single one that is too short to cut.
    """
    if not episodes:
        raise DataError("there is no footage to store: no episode has a frame", "Give other footage.")
    lengths = [episode.frames for episode in episodes]
    target = fraction * sum(lengths)
    chosen = _choose(lengths, target, seed)
    if not target / 2 <= sum(lengths[number] for number in chosen) <= target * 2:
        longest = int(np.argmax(lengths))
        head, tail = _cut(episodes[longest], round(target))
        return (*episodes[:longest], head, tail, *episodes[longest + 1 :])
    return tuple(
        episode.model_copy(update={"held_out": number in chosen}) for number, episode in enumerate(episodes)
    )


def _cut(episode: EpisodeEntry, tail: int) -> tuple[EpisodeEntry, EpisodeEntry]:
    tail = max(tail, MIN_PART_FRAMES)
    head = episode.frames - tail
    if head < MIN_PART_FRAMES:
        raise DataError(
            f"{episode.frames} frames are too few: {2 * MIN_PART_FRAMES} are the least that can be split",
            "Record or give more footage.",
        )
    return (
        episode.model_copy(update={"frames": head}),
        episode.model_copy(update={"start": episode.start + head, "frames": tail, "held_out": True}),
    )


def _choose(lengths: Sequence[int], target: float, seed: int) -> set[int]:
    """Go through the episodes in a random order and take each that brings the sum nearer to its target."""
    chosen: set[int] = set()
    held = 0
    for number in np.random.default_rng(seed).permutation(len(lengths)).tolist():
        if abs(held + lengths[number] - target) < abs(held - target):
            chosen.add(number)
            held += lengths[number]
    return chosen
