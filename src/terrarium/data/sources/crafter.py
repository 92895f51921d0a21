"""Crafter as a Gymnasium environment: the package itself has the older Gym interface.

Imported only when a Crafter id is asked for, since the package is an extra.
"""

from __future__ import annotations

from typing import Any

import crafter
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class Crafter(gym.Env[NDArray[np.uint8], np.integer[Any]]):
    """Open-world survival seen from above (Hafner 2021, "Benchmarking the Spectrum of Agent Capabilities").

    Args:
        picture: height and width of what is drawn, pixels.
    """

    def __init__(self, picture: int = 64) -> None:
        self._picture = picture
        self._game = _make_game(picture, 0)
        self.action_names = tuple(self._game.action_names)
        self.action_space = spaces.Discrete(len(self.action_names))
        self.observation_space = spaces.Box(0, 255, (picture, picture, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin a new world; a seed can only be given to the constructor, so a new game is made each time."""
        super().reset(seed=seed, options=options)
        self._game = _make_game(self._picture, int(self.np_random.integers(2**31)))
        return self._game.reset(), {}

    def step(
        self, action: np.integer[Any] | int
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """One move; the episode ends with the player's death or after 10,000 moves."""
        observation, reward, over, _ = self._game.step(int(action))
        return observation, float(reward), bool(over), False, {}


class _OrderedGame(crafter.Env):  # type: ignore[misc, unused-ignore]  # untyped, or not installed
    """Crafter draws from sets of creatures, whose order depends on addresses in memory; here it is seeded."""

    def _balance_chunk(self, chunk: Any, objs: set[Any]) -> None:
        super()._balance_chunk(chunk, [thing for thing in self._world.objects if thing in objs])


def _make_game(picture: int, seed: int) -> Any:
    make: Any = _OrderedGame
    return make(size=(picture, picture), seed=seed)
