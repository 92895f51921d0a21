"""Checkpoints as trainers write them, whole and spoiled in every way that a doctor must tell."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

State = dict[str, Any]


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """A small network's parameters; the last bias is zero, as it is at the beginning."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "blocks.0.weight": torch.randn(64, 32, generator=generator),
        "blocks.0.bias": torch.randn(64, generator=generator).to(torch.bfloat16),
        "blocks.1.weight": torch.randn(16, 64, generator=generator),
        "blocks.1.bias": torch.zeros(16),
    }


def moments(step: int = 100) -> State:
    """The state of Adam for `weights`."""
    state = {
        place: {"step": torch.tensor(float(step)), "exp_avg": tensor * 0.1, "exp_avg_sq": tensor.square()}
        for place, tensor in enumerate(weights().values())
    }
    return {"state": state, "param_groups": [{"lr": 1e-3, "params": list(state)}]}


def tinyworlds(checkpoints: Path, step: int, model: State | None = None, *, said: int | None = None) -> Path:
    """`dynamics_step_N/` with three files; `said` is the step in its content."""
    folder = checkpoints / f"dynamics_step_{step}"
    folder.mkdir(parents=True)
    torch.save(weights(step) if model is None else model, folder / "model_state_dict.pt")
    torch.save({} if model == {} else moments(step), folder / "optim_state_dict.pt")
    torch.save({"step": step if said is None else said, "config": {"n_updates": 5000}}, folder / "state.pt")
    return folder


def single_file(checkpoints: Path, step: int, model: State | None = None) -> Path:
    """One file with everything, as Lightning and many scripts write it."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    path = checkpoints / f"epoch=3-step={step}.ckpt"
    state = {
        "state_dict": weights(step) if model is None else model,
        "optimizer_states": [moments(step)],
        "global_step": step,
        "epoch": 3,
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(float("inf"))}},
    }
    torch.save(state, path)
    return path


def with_safetensors(checkpoints: Path, step: int, model: State | None = None) -> Path:
    """`checkpoint-N/model.safetensors` and `optimizer.pt`, as the Hugging Face trainer writes them."""
    folder = checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file(weights(step) if model is None else model, folder / "model.safetensors")
    torch.save(moments(step), folder / "optimizer.pt")
    return folder


def in_shards(checkpoints: Path, step: int, model: State | None = None) -> Path:
    """`step-N/` with `.metadata` and shards, as torch's distributed checkpoints are written."""
    folder = checkpoints / f"step-{step}"
    state = {"model": weights(step) if model is None else model, "optim": moments(step)["state"]}
    with warnings.catch_warnings(action="ignore"):  # that there is but one process
        save_distributed(state, checkpoint_id=folder, no_dist=True)
    return folder


LAYOUTS: dict[str, Callable[..., Path]] = {
    "tinyworlds": tinyworlds,
    "single file": single_file,
    "safetensors": with_safetensors,
    "shards": in_shards,
}


def largest_file(path: Path) -> Path:
    """The file of a checkpoint that its weights lie in."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return max(files, key=lambda file: file.stat().st_size)


def cut_off(path: Path, share: float = 0.6) -> None:
    """As after a full disk or a kill."""
    os.truncate(path, int(share * path.stat().st_size))


def flip_bit(path: Path, place: float = 0.5) -> None:
    """One bit of a file, at a share of its length."""
    with path.open("r+b") as file:
        file.seek(int(place * path.stat().st_size))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


class Hostile:
    """An object whose pickle makes a file where it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def hostile(path: Path, trace: Path) -> None:
    """Put such an object beside the weights of a file."""
    torch.save({"model": weights(), "step": 1, "extra": Hostile(trace)}, path)


def hostile_pickle(path: Path, trace: Path) -> None:
    """The same as a plain pickle."""
    path.write_bytes(pickle.dumps({"model": {}, "extra": Hostile(trace)}))
