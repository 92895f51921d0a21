"""A world small enough to train in a second: a bright square that four known actions move about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.config import Config, override
from terrarium.data.dataset import Dataset, Episode
from terrarium.data.writer import DatasetWriter
from terrarium.presets import preset

MOVES = {"up": (-4, 0), "down": (4, 0), "left": (0, -4), "right": (0, 4)}
SIDE = 12  # of the square, in pixels
EPISODES, FRAMES = 8, 20

TINY = (
    "video_tokenizer.steps=6",
    "video_tokenizer.batch_size=2",
    "video_tokenizer.clip_frames=2",
    "video_tokenizer.width=8",
    "video_tokenizer.decoder_width=8",
    "video_tokenizer.checkpoint_every=3",
    "latent_actions.steps=6",
    "latent_actions.batch_size=2",
    "latent_actions.clip_frames=5",
    "latent_actions.width=8",
    "latent_actions.motion_size=16",
    "latent_actions.bits=2",
    "latent_actions.checkpoint_every=3",
    "dynamics.steps=6",
    "dynamics.batch_size=2",
    "dynamics.clip_frames=4",
    "dynamics.width=16",
    "dynamics.heads=2",
    "dynamics.trunk_layers=1",
    "dynamics.head_layers=1",
    "dynamics.context_frames=3",
    "dynamics.checkpoint_every=3",
    "gates.play=false",  # to score takes longer than to train
    "evaluate.clips=4",
    "evaluate.frames=64",
    "evaluate.horizons=[1,4]",
    "evaluate.timing_steps=4",
    "evaluate.inverse_model_steps=3",
)
"""The only place that knows how a tiny run is configured, as `--set` takes it."""


def tiny_config(*assignments: str) -> Config:
    """The tiny configuration, with changes."""
    return override(preset("quick"), [*TINY, *assignments])


def as_options(*assignments: str) -> list[str]:
    """The same on the command line."""
    return [word for assignment in (*TINY, *assignments) for word in ("--set", assignment)]


def moving_square(
    frames: int, seed: int, size: tuple[int, int] = (64, 64)
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Frames (T, H, W, 3) and the action taken on each; one that would leave the picture stays inside."""
    generator = np.random.default_rng(seed)
    actions_T = np.repeat(generator.integers(0, len(MOVES), frames), 2)[:frames]
    steps = np.array(list(MOVES.values()))
    limit = np.array(size) - SIDE
    place = generator.integers(0, limit // 4) * 4
    frames_THWC = np.empty((frames, *size, 3), np.uint8)
    frames_THWC[:] = np.linspace(40, 90, size[1], dtype=np.uint8)[:, None]
    for frame_HWC, action in zip(frames_THWC, actions_T, strict=True):
        top, left = place
        frame_HWC[top : top + SIDE, left : left + SIDE] = (250, 200, 30)
        place = np.clip(place + steps[action], 0, limit)
    return frames_THWC, actions_T


def store_footage(
    path: Path, size: tuple[int, int] = (64, 64), *, episodes: int = EPISODES, frames: int = FRAMES
) -> Dataset:
    """Write a dataset of moving squares, true actions kept beside the frames, and open it."""
    with DatasetWriter(
        path,
        height=size[0],
        width=size[1],
        frames_per_second=10,
        source="moving square",
        action_names=tuple(MOVES),
        held_out_fraction=0.25,
    ) as writer:
        for seed in range(episodes):
            writer.add_episode(*moving_square(frames, seed, size), source=f"square {seed}")
    return Dataset.open(path)


def numbered_episodes(*lengths: int) -> list[Episode]:
    """Episodes whose frames say where they are from."""
    made = []
    for index, frames in enumerate(lengths):
        frames_THWC = np.zeros((frames, 1, 1, 3), np.uint8)
        frames_THWC[..., 0], frames_THWC[..., 1] = index, np.arange(frames)[:, None, None]
        made.append(Episode(frames_THWC, "numbers", index))
    return made
