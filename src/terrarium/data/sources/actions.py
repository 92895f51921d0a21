"""How an environment is played while it is recorded: random actions, each held for a while.

Random actions drawn at every frame cancel out, and the player trembles on the spot; held actions carry it
through the game. Countable actions are numbered, so that scoring can use them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MAX_ACTIONS = 256  # combinations of buttons beyond this are played, but not stored
SMOOTHING = 0.7  # share of the previous value in a continuous action; the rest is the new target
UNBOUNDED = 1.0  # range of a continuous action that names none


@dataclass(frozen=True)
class ActionTable:
    """The actions of an environment that has a finite number of them.

    Attributes:
        actions: what `env.step` takes, in order.
        names: a name for each.
    """

    actions: tuple[Any, ...]
    names: tuple[str, ...]


def action_table(env: gym.Env[Any, Any]) -> ActionTable | None:
    """Number the environment's actions; None if they are too many or continuous."""
    space = env.action_space
    if isinstance(space, spaces.Discrete) and space.n <= MAX_ACTIONS:
        actions: tuple[Any, ...] = tuple(int(space.start) + i for i in range(int(space.n)))
        return ActionTable(actions, _discrete_names(env, len(actions)))
    if isinstance(space, spaces.MultiBinary) and isinstance(space.n, int) and 2**space.n <= MAX_ACTIONS:
        choices = [2] * space.n
    elif isinstance(space, spaces.MultiDiscrete) and _count(space) <= MAX_ACTIONS:
        choices = space.nvec.ravel().tolist()
    else:
        return None
    rows = list(itertools.product(*(range(choice) for choice in choices)))
    actions = tuple(np.array(row, dtype=space.dtype).reshape(space.shape) for row in rows)
    buttons = _button_names(env, len(choices))
    return ActionTable(actions, tuple(_combination(row, buttons) for row in rows))


class HeldActions:
    """A seeded random player that keeps to each action for a geometric number of frames.

    Args:
        env: whose actions are drawn.
        hold: mean number of recorded frames for which an action is held, at least 1.
        generator: the only source of randomness.
    """

    def __init__(self, env: gym.Env[Any, Any], hold: float, generator: np.random.Generator) -> None:
        self.table = action_table(env)
        self._space, self._hold, self._generator = env.action_space, hold, generator
        self.restart()

    def restart(self) -> None:
        """Begin an episode: the next action is drawn afresh."""
        self._left, self._number = 0, -1
        self._target: Any = None
        self._current: Any = None

    def next(self) -> tuple[Any, int]:
        """What `env.step` takes for the next frame, and its number in the table (-1 without a table)."""
        if self._left == 0:
            self._left = int(self._generator.geometric(1 / self._hold))
            self._draw()
        self._left -= 1
        self._current = _blend(self._space, self._current, self._target)
        return self._current, self._number

    def _draw(self) -> None:
        if self.table is None:
            self._target = _sample(self._space, self._generator)
            return
        self._number = int(self._generator.integers(len(self.table.actions)))
        self._target = self.table.actions[self._number]


def _sample(space: spaces.Space[Any], generator: np.random.Generator) -> Any:
    """Draw from our own generator: `space.sample` has its own, and overflows on unbounded boxes."""
    if isinstance(space, spaces.Dict):
        return {name: _sample(part, generator) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_sample(part, generator) for part in space.spaces)
    if isinstance(space, spaces.Box):
        low = np.where(space.low < -1e6, -UNBOUNDED, space.low).astype(np.float64)
        high = np.where(space.high > 1e6, UNBOUNDED, space.high).astype(np.float64)
        return generator.uniform(low, high).astype(space.dtype)
    space.seed(int(generator.integers(2**31)))
    return space.sample()


def _blend(space: spaces.Space[Any], current: Any, target: Any) -> Any:
    if current is None:
        return target
    if isinstance(space, spaces.Dict):
        return {name: _blend(part, current[name], target[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(_blend, space.spaces, current, target))
    if isinstance(space, spaces.Box):
        return (SMOOTHING * current + (1 - SMOOTHING) * target).astype(space.dtype)
    return target


def _count(space: spaces.MultiDiscrete) -> float:
    return float(np.prod(space.nvec.astype(np.float64)))


def _discrete_names(env: gym.Env[Any, Any], count: int) -> tuple[str, ...]:
    """Ask the environment, in the ways that ALE, Crafter and ViZDoom answer."""
    inner: Any = env.unwrapped
    if hasattr(inner, "get_action_meanings"):
        names = tuple(inner.get_action_meanings())
    elif hasattr(inner, "action_names"):
        names = tuple(inner.action_names)
    elif hasattr(inner, "button_map"):
        buttons = _button_names(env, len(inner.button_map[0]))
        names = tuple(_combination(row.tolist(), buttons) for row in inner.button_map)
    else:
        names = ()
    return names if len(names) == count else tuple(str(number) for number in range(count))


def _button_names(env: gym.Env[Any, Any], count: int) -> tuple[str, ...]:
    game: Any = getattr(env.unwrapped, "game", None)
    if hasattr(game, "get_available_buttons"):
        # ViZDoom puts the continuous buttons first; only the last ones can be pressed.
        return tuple(button.name for button in game.get_available_buttons())[-count:]
    return tuple(str(number) for number in range(count))


def _combination(row: Any, buttons: tuple[str, ...]) -> str:
    pressed = [
        name if value == 1 else f"{name}={value}" for name, value in zip(buttons, row, strict=True) if value
    ]
    return "+".join(pressed) or "NOOP"
