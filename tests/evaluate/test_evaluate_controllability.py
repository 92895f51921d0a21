"""ΔPSNR: its sign with worlds whose truth is known, and the interval's width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_samples import SPEED, Simulator, store_squares

from terrarium.evaluate.controllability import bootstrap_interval, score_controllability


@pytest.fixture
def score(tmp_path: Path) -> Any:
    dataset = store_squares(tmp_path / "squares")

    def run(effect: tuple[int, ...]) -> Any:
        return score_controllability(Simulator.make(effect), dataset, 12, 0)

    return run


def test_a_world_that_obeys_has_a_positive_delta(score: Any) -> None:
    delta = score((*SPEED, 0))
    assert 5 < delta["low"] < delta["mean"] < delta["high"]
    assert (delta["clips"], delta["episodes"]) == (12, 2)


def test_a_world_that_ignores_its_actions_has_none(score: Any) -> None:
    delta = score((1, 1, 1, 1))
    assert (delta["mean"], delta["low"], delta["high"]) == (0, 0, 0)


def test_a_world_that_does_the_opposite_gains_nothing(score: Any) -> None:
    """Two wrongs cancel in some clips, so it is not far below 0, but never as good as an obedient one."""
    assert score((0, 3, -3, 0))["mean"] < 0.1 * score((*SPEED, 0))["mean"]


def test_one_episode_gives_no_interval(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "one", (60,))
    delta = score_controllability(Simulator.make(), dataset, 12, 0)
    assert delta["low"] is delta["high"] is None
    assert isinstance(delta["mean"], float)
    assert "one held-out episode" in str(delta["reason"])


def test_episodes_too_short_give_a_reason(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "short", (4,) * 10)
    delta = score_controllability(Simulator.make(), dataset, 12, 0)
    assert (delta["mean"], delta["low"], delta["high"]) == (None, None, None)
    assert delta["reason"] == "no held-out episode is longer than 4 frames"


def clustered(generator: np.random.Generator, clusters: int, each: int) -> tuple[Any, Any]:
    """Values about 0 that lean to one side or the other by cluster."""
    cluster_N = np.repeat(np.arange(clusters), each)
    return generator.normal(size=clusters)[cluster_N] + generator.normal(size=clusters * each), cluster_N


def test_the_interval_covers_the_truth_about_as_often_as_it_claims() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(*clustered(generator, 20, 4), seed=trial)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_alike_clips_of_one_episode_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(1).normal(size=10)
    once = bootstrap_interval(values, np.arange(10), seed=0)
    often = bootstrap_interval(np.repeat(values, 7), np.repeat(np.arange(10), 7), seed=0)
    assert often == pytest.approx(once)


def test_the_interval_is_seeded() -> None:
    values, cluster = clustered(np.random.default_rng(2), 8, 3)
    assert bootstrap_interval(values, cluster, 5) == bootstrap_interval(values, cluster, 5)
    assert bootstrap_interval(values, cluster, 5) != bootstrap_interval(values, cluster, 6)
