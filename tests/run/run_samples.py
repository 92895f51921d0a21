"""Small runs and checkpoints for the tests of the run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from terrarium.run.checkpoint import commit_checkpoint
from terrarium.run.folder import RunFolder, StageFolder
from terrarium.run.survey import list_checkpoints

Arrays = dict[str, NDArray[np.float32]]


def make_run(path: Path) -> RunFolder:
    return RunFolder.create(path, facts={"data": "footage/basic", "preset": "quick"})


def make_stage(path: Path, name: str = "dynamics") -> StageFolder:
    return make_run(path).stage(name).create()


def weights(seed: int = 0) -> Arrays:
    generator = np.random.default_rng(seed)
    return {
        "embed.weight": generator.standard_normal((4, 3), dtype=np.float32),
        "head.weight": generator.standard_normal((2, 4), dtype=np.float32),
        "head.bias": generator.standard_normal(2, dtype=np.float32),
    }


def optimizer_of(arrays: Arrays) -> Arrays:
    slots: Arrays = {}
    for name, array in arrays.items():
        slots[f"{name}/exp_avg"] = array * np.float32(0.5)
        slots[f"{name}/exp_avg_sq"] = array * array
        slots[f"{name}/step"] = np.full((), 7, np.float32)
    return slots


def sample_files(seed: int = 0) -> dict[str, bytes]:
    """What training would hand to `commit_checkpoint`."""
    arrays = weights(seed)
    return {
        "model.safetensors": save(dict(arrays)),
        "ema.safetensors": save({name: array * np.float32(0.9) for name, array in arrays.items()}),
        "optimizer.safetensors": save(dict(optimizer_of(arrays))),
    }


def sample_state(seed: int = 0) -> dict[str, object]:
    arrays = weights(seed)
    return {
        "parameters": {name: ["F32", list(array.shape)] for name, array in arrays.items()},
        "trained": sorted(arrays),
        "seed": seed,
    }


def commit(stage: StageFolder, step: int, *, keep: int = 3, seed: int | None = None) -> Path:
    """Save a sample whose tensors depend on the seed, which is the step where none is given."""
    seed = step if seed is None else seed
    return commit_checkpoint(stage, step, sample_files(seed), state=sample_state(seed), keep=keep)


def saved_steps(stage: StageFolder) -> list[int]:
    """The steps of the checkpoints that are there."""
    return [int(path.name.rpartition("_")[2]) for path in list_checkpoints(stage)]


def flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])
