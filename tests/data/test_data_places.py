"""Stretches of footage: evenly spread, never out of bounds, read a few at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from terrarium.data.dataset import Episode
from terrarium.data.places import Place, chunks, evenly, mean_frame, read, spread_places
from tiny_world import numbered_episodes

QUICK = settings(max_examples=50, deadline=None)
Lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@QUICK
@given(total=st.integers(0, 500), count=st.integers(1, 600))
def test_evenly_spaced_numbers_are_distinct_and_in_range(total: int, count: int) -> None:
    chosen = evenly(total, count)
    assert len(chosen) == min(total, count) == len(set(chosen.tolist()))
    assert all(0 <= number < total for number in chosen)
    gaps = np.diff(chosen)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@QUICK
@given(lengths=Lengths, frames=st.integers(1, 10), count=st.integers(1, 100))
def test_places_lie_within_their_episodes_and_are_distinct(
    lengths: list[int], frames: int, count: int
) -> None:
    places = spread_places(numbered_episodes(*lengths), frames, count)
    there = sum(max(0, length - frames + 1) for length in lengths)
    assert len(places) == min(count, there)
    assert len({(place.episode.index, place.start) for place in places}) == len(places)
    assert all(place.start + frames <= len(place.episode) for place in places)


def test_frames_read_are_those_named() -> None:
    first, second = numbered_episodes(10, 10)
    frames = read([Place(first, 2, 3), Place(second, 7, 3)])
    assert frames[..., 0, 0, 0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert frames[..., 0, 0, 1].tolist() == [[2, 3, 4], [7, 8, 9]]


def test_chunks_are_the_whole_in_order() -> None:
    places = spread_places(numbered_episodes(300), 1, 300)
    assert np.concatenate(list(chunks(places)))[:, 0, 0, 0, 1].tolist() == [t % 256 for t in range(300)]


def test_the_mean_frame_is_the_mean_of_all_where_there_are_few() -> None:
    some = numbered_episodes(3, 8)
    assert mean_frame(some)[0, 0].tolist() == [round(8 / 11), round((3 + 28) / 11), 0]


def peak_of_the_mean(count: int) -> int:
    """Bytes that the mean frame of so many episodes took at most; the episodes themselves take none."""
    frames_THWC = np.broadcast_to(np.uint8(7), (16, 64, 64, 3))
    many = [Episode(frames_THWC, "grey", index) for index in range(count)]
    tracemalloc.start()
    try:
        assert (mean_frame(many) == 7).all()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_mean_frame_of_ten_times_the_footage_takes_no_more_memory() -> None:
    few, many = peak_of_the_mean(2_000), peak_of_the_mean(20_000)
    assert many < few + 2_000_000  # less than the 20,000 frames, one of each episode, would take
