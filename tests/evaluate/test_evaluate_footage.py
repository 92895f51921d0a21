"""Which footage is scored: evenly spread, never overlapping where it counts, never out of bounds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from evaluation_samples import play_square, store_squares
from hypothesis import given, settings
from hypothesis import strategies as st

from terrarium.data.places import spread_places
from terrarium.evaluate.footage import batches, first_actions, spread_clips
from tiny_world import numbered_episodes

QUICK = settings(max_examples=50, deadline=None)
Lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@QUICK
@given(lengths=Lengths, context=st.integers(1, 8), horizon=st.integers(1, 20), count=st.integers(1, 40))
def test_clips_fit_and_their_dreamed_parts_never_overlap(
    lengths: list[int], context: int, horizon: int, count: int
) -> None:
    clips = spread_clips(numbered_episodes(*lengths), context, horizon, count)
    dreamed = [
        (clip.episode.index, clip.start + clip.context + step) for clip in clips for step in range(horizon)
    ]
    assert len(clips) <= count
    assert len(dreamed) == len(set(dreamed))
    for clip in clips:
        assert 1 <= clip.context <= context
        assert clip.frames == clip.context + horizon
        assert clip.start + clip.frames <= len(clip.episode)
        # only an episode that has no more gives less
        assert clip.context == context or clip.frames == len(clip.episode)


@QUICK
@given(lengths=Lengths, count=st.integers(1, 12))
def test_every_usable_episode_has_a_clip_where_there_are_clips_enough(lengths: list[int], count: int) -> None:
    clips = spread_clips(numbered_episodes(*lengths), 4, 4, count)
    usable = sum(length > 4 for length in lengths)
    assert len({clip.episode.index for clip in clips}) == min(usable, count)


def test_clips_are_shared_out_equally() -> None:
    clips = spread_clips(numbered_episodes(100, 100, 9, 100), 4, 4, 13)
    assert Counter(clip.episode.index for clip in clips) == {0: 4, 1: 4, 2: 1, 3: 4}


def test_batches_hold_clips_of_one_context_and_lose_none() -> None:
    clips = spread_clips(numbered_episodes(20, 6, 20, 7), 4, 4, 40)
    together = list(batches(clips, 3))
    assert all(len({clip.context for clip in batch}) == 1 and len(batch) <= 3 for batch in together)
    assert sorted((c.episode.index, c.start) for batch in together for c in batch) == sorted(
        (c.episode.index, c.start) for c in clips
    )


def test_first_actions_are_those_taken_on_the_first_frame(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "squares")
    places = spread_places(dataset.held_out, 2, 11)
    expected = [play_square(30, place.episode.index)[1][place.start] for place in places]
    assert first_actions(places).tolist() == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("lengths", [(4,), (1, 2, 3, 4)])
def test_no_clip_comes_of_episodes_that_are_too_short(lengths: tuple[int, ...]) -> None:
    assert spread_clips(numbered_episodes(*lengths), 4, 4, 10) == []
