from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from terrarium.data.sources.actions import HeldActions, action_table


class Silent(gym.Env[Any, Any]):
    """Only has an action space."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.action_space = space


def play(space: spaces.Space[Any], hold: float, frames: int, seed: int = 0) -> list[tuple[Any, int]]:
    player = HeldActions(Silent(space), hold, np.random.default_rng(seed))
    return [player.next() for _ in range(frames)]


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (spaces.Discrete(3), ("0", "1", "2")),
        (spaces.Discrete(2, start=5), ("0", "1")),
        (spaces.MultiBinary(2), ("NOOP", "1", "0", "0+1")),
        (spaces.MultiDiscrete([2, 3]), ("NOOP", "1", "1=2", "0", "0+1", "0+1=2")),
    ],
)
def test_every_countable_action_has_a_number_and_a_name(
    space: spaces.Space[Any], names: tuple[str, ...]
) -> None:
    table = action_table(Silent(space))
    assert table is not None
    assert table.names == names
    assert all(space.contains(action) for action in table.actions)
    assert len({np.asarray(action).tobytes() for action in table.actions}) == len(names)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,)),
        spaces.MultiBinary(12),
        spaces.MultiDiscrete([100, 100]),
        spaces.Dict({"binary": spaces.MultiBinary(2), "continuous": spaces.Box(-3e38, 3e38, (2,))}),
        spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))),
    ],
)
def test_what_can_not_be_counted_is_played_without_a_number(space: spaces.Space[Any]) -> None:
    played = play(space, 4, 50)
    assert all(space.contains(action) for action, _ in played)
    assert {number for _, number in played} == {-1}
    again = play(space, 4, 50)
    assert str(again) == str(played), "seeded"


def test_continuous_actions_are_smooth() -> None:
    path = np.array([action for action, _ in play(spaces.Box(-1, 1, (1,)), 4, 2000)]).ravel()
    assert np.abs(np.diff(path)).max() <= 0.6 + 1e-6
    assert path.std() > 0.2


@pytest.mark.parametrize("hold", [1.0, 4.0, 8.0])
def test_actions_are_held_for_a_geometric_time(hold: float) -> None:
    numbers = np.array([number for _, number in play(spaces.Discrete(50), hold, 20_000)])
    held = len(numbers) / (1 + np.count_nonzero(np.diff(numbers)))
    assert held == pytest.approx(hold, rel=0.1)
    counts = np.bincount(numbers, minlength=50)
    assert counts.min() > 0.5 * counts.mean(), "all are drawn"


def test_an_episode_begins_with_a_fresh_action() -> None:
    player = HeldActions(Silent(spaces.Discrete(200)), 100, np.random.default_rng(0))
    _, first = player.next()
    player.restart()
    assert player.next()[1] != first
