"""A small dataset to read: ten episodes of noise with true actions, over several shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrarium.data.writer import DatasetWriter

LENGTHS = (20, 24, 8, 31, 20, 20, 12, 40, 22, 16)


def noise(frames: int, seed: int) -> NDArray[np.uint8]:
    """Frames of 4x6 pixels."""
    return np.random.default_rng(seed).integers(0, 256, (frames, 4, 6, 3), dtype=np.uint8)


def turns(frames: int, seed: int) -> NDArray[np.int64]:
    """Actions 0-2."""
    return np.random.default_rng(seed).integers(0, 3, frames)


def store_noise(path: Path) -> Path:
    """Write the dataset and return its path."""
    with DatasetWriter(
        path,
        height=4,
        width=6,
        frames_per_second=10,
        source="noise",
        action_names=("stay", "left", "right"),
        shard_bytes=3000,
    ) as writer:
        for seed, frames in enumerate(LENGTHS):
            writer.add_episode(noise(frames, seed), turns(frames, seed), source=str(seed))
    return path
