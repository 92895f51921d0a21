from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from data_samples import store_noise

from terrarium.data.dataset import Dataset
from terrarium.data.loader import ClipSampler, Prefetcher, windows
from terrarium.errors import DataError


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return store_noise(tmp_path / "footage")


def test_a_batch_is_a_function_of_seed_stage_and_step(footage: Path) -> None:
    episodes = Dataset.open(footage).train

    def starts(seed: int, stage: str, step: int) -> list[tuple[int, int]]:
        clips = ClipSampler(episodes, 8, 16, seed, stage).batch(step)
        return list(zip(clips.episode_B.tolist(), clips.start_B.tolist(), strict=True))

    assert starts(0, "dynamics", 7) == starts(0, "dynamics", 7)
    assert len({tuple(starts(*key)) for key in [(0, "a", 7), (1, "a", 7), (0, "b", 7), (0, "a", 8)]}) == 4


def test_clips_are_what_they_say(footage: Path) -> None:
    dataset = Dataset.open(footage)
    by_index = {episode.index: episode for episode in dataset.train}
    sampler = ClipSampler(dataset.train, 8, 32, 0, "dynamics")
    for step in range(20):
        clips = sampler.batch(step)
        assert clips.video_BTHWC.shape == (32, 8, 4, 6, 3)
        assert clips.video_BTHWC.dtype == np.uint8
        for video_THWC, index, start in zip(clips.video_BTHWC, clips.episode_B, clips.start_B, strict=True):
            assert 0 <= start <= len(by_index[index]) - 8
            assert np.array_equal(video_THWC, by_index[index].frames_THWC[start : start + 8])


def test_every_start_is_drawn_equally_often(footage: Path) -> None:
    episodes = Dataset.open(footage).train
    sampler = ClipSampler(episodes, 16, 64, 0, "dynamics")
    counts: dict[tuple[int, int], int] = {}
    for step in range(200):
        for place in zip(*(part.tolist() for part in sampler.draw(step)), strict=True):
            counts[place] = counts.get(place, 0) + 1
    places = {(episode.index, start) for episode, start in windows(episodes, 16, 1)}
    assert counts.keys() == places
    mean = 200 * 64 / len(places)
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())


def test_short_episodes_are_left_out_and_named_when_none_remain(footage: Path) -> None:
    episodes = Dataset.open(footage).train
    longest = max(len(episode) for episode in episodes)
    assert ClipSampler(episodes, longest, 2, 0, "dynamics").batch(0).video_BTHWC.shape[1] == longest
    with pytest.raises(DataError, match=f"the longest episode has {longest}") as caught:
        ClipSampler(episodes, longest + 1, 2, 0, "dynamics")
    assert "dynamics.clip_frames" in caught.value.next_step


def test_identity_names_the_batch(footage: Path) -> None:
    sampler = ClipSampler(Dataset.open(footage).train, 8, 12, 0, "dynamics")
    episode_B, start_B = sampler.draw(12)
    text = sampler.identity(12)
    assert text.startswith(f"step 12: episodes {episode_B[0]}@{start_B[0]}, ")
    assert text.endswith("and 4 more")


def test_prefetched_batches_are_the_same(footage: Path) -> None:
    sampler = ClipSampler(Dataset.open(footage).train, 8, 4, 0, "dynamics")
    with Prefetcher(sampler, 5, 15) as batches:
        found = [clips.video_BTHWC for clips in batches]
    assert len(found) == 10
    for step, video_BTHWC in enumerate(found, start=5):
        assert np.array_equal(video_BTHWC, sampler.batch(step).video_BTHWC)


class Failing:
    """Breaks at step 3."""

    def batch(self, step: int) -> int:
        if step == 3:
            raise DataError("the disk is gone")
        return step


def test_an_error_is_raised_when_its_turn_comes() -> None:
    seen = []
    with pytest.raises(DataError, match="the disk is gone"), Prefetcher(Failing(), 0) as batches:
        for batch in batches:
            seen.append(batch)
    assert seen == [0, 1, 2]
    assert no_thread_is_left()


class Counting:
    """Says which steps were made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def batch(self, step: int) -> int:
        self.made.append(step)
        return step


def test_closing_early_stops_the_thread() -> None:
    counting = Counting()
    with Prefetcher(counting, 0) as batches:
        assert next(iter(batches)) == 0
    assert no_thread_is_left()
    assert len(counting.made) <= 5, "it works only a little ahead"


def test_it_ends_where_somebody_asks_even_while_a_batch_is_waited_for() -> None:
    asked, release = [""], threading.Event()

    class Slow:
        def batch(self, step: int) -> int:
            if step == 2:
                asked[0] = "SIGTERM"
                release.wait(0.5)
            return step

    with Prefetcher(Slow(), 0, 9, lambda: asked[0]) as batches:
        seen = list(batches)
    assert seen in ([], [0], [0, 1])
    release.set()
    assert no_thread_is_left()


def no_thread_is_left() -> bool:
    return not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_windows_cover_every_episode_in_order(footage: Path) -> None:
    episodes = Dataset.open(footage).train
    places = [(episode.index, start) for episode, start in windows(episodes, 8, 8)]
    assert places == sorted(places)
    assert len(places) == sum(len(episode) // 8 for episode in episodes)
