"""What a stage's training consists of at a step, to and from checkpoint files.

There is no random state in it: every step seeds all generators from (seed, stage, step), and its batch is a
function of the same three. So a resumed run is the run that was not interrupted, bit for bit.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from terrarium.config import StageConfig
from terrarium.errors import CheckpointError
from terrarium.run import disk
from terrarium.run.checkpoint import read_files, read_state
from terrarium.run.folder import StageFolder
from terrarium.train.optimizer import make_optimizer
from terrarium.train.saver import Snapshot


@dataclass
class TrainState:
    """A model in training.

    Attributes:
        model: its live weights.
        average: the exponential moving average of the weights, for evaluation and for the stages above.
        optimizer: of the live weights.
        step: optimizer steps taken.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0

    @staticmethod
    def begin(model: nn.Module, config: StageConfig) -> TrainState:
        """A state before the first step."""
        average = copy.deepcopy(model).eval().requires_grad_(False)
        return TrainState(model, average, make_optimizer(model, config))

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the live weights, faster in the first steps; copy buffers."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        for mine, live in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(live)

    def snapshot(self, notes: Mapping[str, object] = MappingProxyType({})) -> Snapshot:
        """A copy of everything, on the CPU, for a checkpoint of this step; `notes` go to its `state.json`."""
        files = {
            "model.safetensors": _copied(self.model.state_dict()),
            "ema.safetensors": _copied(self.average.state_dict()),
            "optimizer.safetensors": _copied(self._optimizer_tensors()),
        }
        return Snapshot(self.step, files, {**describe_model(self.model), **notes})

    def load(self, folder: StageFolder, step: int) -> None:
        """Take everything from the checkpoint of a step.

        Raises:
            CheckpointError: it is damaged or does not fit the model.
        """
        path = folder.checkpoint_path(step)
        if others := differences(
            read_state(path).get("parameters"), describe_model(self.model)["parameters"]
        ):
            raise CheckpointError(
                f"{path} is of a model of another shape: {others}",
                "Resume with the configuration it was started with.",
            )
        files = read_files(path)
        self.model.load_state_dict(safetensors.torch.load(files["model.safetensors"]))
        self.average.load_state_dict(safetensors.torch.load(files["ema.safetensors"]))
        self._load_optimizer(safetensors.torch.load(files["optimizer.safetensors"]))
        self.step = step

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimizer.state[parameter].items()
        }

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, parameter in enumerate(parameters):
            keys = ("step", "exp_avg", "exp_avg_sq")
            state[index] = {key: tensors[f"{names[parameter]}/{key}"] for key in keys}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def describe_model(model: nn.Module) -> dict[str, object]:
    """Name, type and shape of every tensor of a model, and which of them are trained."""
    tensors = model.state_dict()
    table = {
        name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        for name, tensor in tensors.items()
    }
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {"parameters": table, "trained": trained}


def differences(saved: object, live: object) -> str:
    """In what two tables of parameters differ, in words; "" where they don't."""
    if saved == live:
        return ""
    if not isinstance(saved, dict) or not isinstance(live, dict):
        return "it does not say of which"
    names = [name for name in {**saved, **live} if saved.get(name) != live.get(name)]
    told = [f"{name} is {_shape(saved, name)} there and {_shape(live, name)} here" for name in names[:3]]
    rest = f", and {len(names) - 3} more" if len(names) > 3 else ""
    return "; ".join(told) + rest


def _shape(table: dict[str, Any], name: str) -> str:
    entry = table.get(name)
    return "absent" if entry is None else disk.shown(entry)


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed every generator of torch for a step. The one place where training gets its randomness from."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}".encode()) + (seed << 32))


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor) for name, tensor in tensors.items()
    }
