"""Footage from any Gymnasium environment that shows pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Dataset
from terrarium.data.sources.actions import HeldActions
from terrarium.data.sources.environments import Env, family_of, frames_per_second, pixel_reader, playing
from terrarium.data.sources.pixels import Size, to_frame
from terrarium.data.writer import DatasetWriter
from terrarium.errors import DataError

MAX_EPISODE_FRAMES = 1000  # an environment that never ends is restarted after this many

Progress = Callable[[int, int], None]


def record(
    env_id: str,
    out: Path,
    *,
    frames: int = 12000,
    seed: int = 0,
    size: Size = (64, 64),
    frame_skip: int | None = None,
    hold: float = 4.0,
    make_kwargs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Play an environment at random and store its frames; equal seeds give equal fingerprints.

    Args:
        env_id: any Gymnasium id whose observations are, or hold, pixels, or that can be rendered.
        out: the dataset folder to make.
        frames: how many to store.
        seed: of the player, the environment and the split.
        size: height and width of the stored frames.
        frame_skip: game frames per stored one; by default 4, and 1 for Crafter, which is turn-based.
        hold: mean number of stored frames for which an action is held, at least 1.
        make_kwargs: more arguments for the environment; paths in them must be absolute.
        progress: called with (frames stored, frames wanted) now and then.

    Raises:
        DataError: an unknown id, an environment without pixels or that breaks, a target that exists.
        MissingExtraError: the environment's package is not installed.
    """
    if frames < 4 or not 1 <= hold < math.inf or (frame_skip is not None and frame_skip < 1):
        raise DataError(
            f"frames={frames}, hold={hold}, frame_skip={frame_skip} can't be recorded",
            "Give at least 4 frames, and at least 1 for hold and frame_skip.",
        )
    out = out.absolute()  # before the working directory changes
    family = family_of(env_id)
    skip = frame_skip or family.frame_skip
    with playing(env_id, family, skip, make_kwargs or {}) as env:
        take = Take(env, skip if family.skip_keyword is None else 1, size, hold, seed)
        names = take.player.table.names if take.player.table else None
        rate = frames_per_second(env, family, skip)
        height, width = size
        with DatasetWriter(
            out,
            height=height,
            width=width,
            frames_per_second=rate,
            source=env_id,
            seed=seed,
            action_names=names,
            expected_frames=frames,
        ) as writer:
            while (done := writer.frames_written) < frames:
                shots, actions_T = take.episode(min(frames - done, MAX_EPISODE_FRAMES))
                writer.add_episode(shots, None if names is None else actions_T)
                if progress is not None:
                    progress(writer.frames_written, frames)
    return Dataset.open(out)


class Take:
    """Plays episodes and collects their frames.

    Args:
        env: the environment to play.
        repeat: how often each action is given to `env.step`.
        size: height and width of the frames.
        hold: mean number of frames for which an action is held.
        seed: of everything random.
    """

    def __init__(self, env: Env, repeat: int, size: Size, hold: float, seed: int) -> None:
        self._env, self._repeat, self._size = env, repeat, size
        self._pixels = pixel_reader(env)
        self._generator = np.random.default_rng(seed)
        self.player = HeldActions(env, hold, self._generator)

    def episode(self, limit: int) -> tuple[list[NDArray[np.uint8]], list[int]]:
        """Play from a reset to the end or for `limit` frames; the terminal observation is dropped."""
        self.player.restart()
        observation, _ = self._env.reset(seed=int(self._generator.integers(2**31)))
        frames: list[NDArray[np.uint8]] = []
        actions_T: list[int] = []
        over = False
        while not over and len(frames) < limit:
            frames.append(to_frame(self._pixels(observation), self._size))
            action, number = self.player.next()
            actions_T.append(number)
            observation, over = self._step(action)
        return frames, actions_T

    def _step(self, action: Any) -> tuple[Any, bool]:
        over = False
        observation = None
        for _ in range(self._repeat):
            observation, _, terminated, truncated, _ = self._env.step(action)
            over = bool(terminated or truncated)
            if over:
                break
        return observation, over
