"""States of training to be saved and damaged: small, but files of some 100 KiB, so that holes fit in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from run_samples import make_stage, optimizer_of
from safetensors.numpy import save

from terrarium.run.checkpoint import commit_checkpoint, read_files
from terrarium.run.folder import StageFolder

Arrays = dict[str, NDArray[np.float32]]
FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors")


def weights(seed: int) -> Arrays:
    """A model of 320 KiB."""
    generator = np.random.default_rng(seed)
    return {
        "embed.weight": generator.standard_normal((78, 1024), dtype=np.float32),
        "head.weight": generator.standard_normal((2, 1024), dtype=np.float32),
        "head.bias": generator.standard_normal(2, dtype=np.float32),
    }


def files_of(arrays: Arrays) -> dict[str, bytes]:
    """What training hands to `commit_checkpoint`."""
    return {
        "model.safetensors": save(dict(arrays)),
        "ema.safetensors": save({name: array * np.float32(0.9) for name, array in arrays.items()}),
        "optimizer.safetensors": save(dict(optimizer_of(arrays))),
    }


def state_of(arrays: Arrays) -> dict[str, object]:
    """What training says of it."""
    return {
        "parameters": {name: ["F32", list(array.shape)] for name, array in arrays.items()},
        "trained": sorted(arrays),
    }


def commit(stage: StageFolder, step: int, *, keep: int = 3) -> Path:
    """Save the state of a step; its tensors depend on the step."""
    arrays = weights(step)
    return commit_checkpoint(stage, step, files_of(arrays), state=state_of(arrays), keep=keep)


def holds(path: Path | None, step: int) -> bool:
    """Whether a checkpoint holds what was saved at a step, to the last bit."""
    return path is not None and read_files(path) == files_of(weights(step))


__all__ = ["FILES", "commit", "files_of", "holds", "make_stage", "state_of", "weights"]
