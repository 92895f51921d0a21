"""The state of a stage in training, and its way to checkpoint files and back.

It holds no random state: every step seeds all generators from (seed, stage, step), and its batch is a
function of the same three. So a resumed run equals the uninterrupted one, bit for bit.
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
from terrarium.train import parallel
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.optimizer import make_optimizer
from terrarium.train.saver import Snapshot
from terrarium.train.surroundings import KEY, surroundings


@dataclass
class TrainState:
    """A model in training, with all that a checkpoint stores.

    Attributes:
        model: its live weights.
        average: the exponential moving average of the weights, for evaluation and for the stages above.
        optimizer: moves the live weights.
        runner: what is called with inputs: the model, or the wrapper that averages its gradients over
            processes.
        ranks: the processes that train it together.
        plain: if the average is sharded, an unsharded model to gather it into.
        step: optimizer steps taken.
        guard_seconds: time spent on checking that steps are sound, and on undoing those that aren't.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    runner: nn.Module
    ranks: Ranks = ALONE
    plain: nn.Module | None = None
    step: int = 0
    guard_seconds: float = 0.0

    @staticmethod
    def begin(
        model: nn.Module, config: StageConfig, ranks: Ranks = ALONE, strategy: str = "ddp"
    ) -> TrainState:
        """A state before the first step.

        Args:
            model: is trained in place; with `fsdp` a sharded copy of it is trained instead.
            config: the stage's configuration.
            ranks: the processes that train it together.
            strategy: "ddp" or "fsdp", for several processes.
        """
        average = copy.deepcopy(model).eval().requires_grad_(False)
        if ranks.alone:
            return TrainState(model, average, make_optimizer(model, config), model)
        if strategy == "ddp":
            runner = parallel.replicated(model)
            return TrainState(model, average, make_optimizer(model, config), runner, ranks)
        plain, model, average = average, parallel.sharded(model), parallel.sharded(average)
        return TrainState(model, average, make_optimizer(model, config), model, ranks, plain)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the live weights, faster in the first steps, and copy the buffers."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        averages = [parallel.here(parameter) for parameter in self.average.parameters()]
        live_ones = [parallel.here(parameter) for parameter in self.model.parameters()]
        torch._foreach_lerp_(averages, live_ones, 1 - decay)
        for mine, live in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mine.copy_(live)

    def whole_average(self) -> nn.Module | None:
        """The averaged model, unsharded, in the first process; None in the others.

        All processes must call this together.
        """
        if self.plain is not None:  # in shards
            tensors = parallel.gathered(self.average.state_dict(), self.ranks)
            if self.ranks.is_first:
                self.plain.load_state_dict(tensors)
        return (self.plain or self.average) if self.ranks.is_first else None

    def snapshot(self, notes: Mapping[str, object] = MappingProxyType({})) -> Snapshot:
        """A copy of everything on the CPU, for a checkpoint of this step; `notes` go to its `state.json`.

        All processes must call this together; only the first one's copy has tensors.
        """
        files = {
            "model.safetensors": parallel.gathered(self.model.state_dict(), self.ranks),
            "ema.safetensors": parallel.gathered(self.average.state_dict(), self.ranks),
            "optimizer.safetensors": parallel.gathered(self._optimizer_tensors(), self.ranks),
        }
        return Snapshot(self.step, files, {**self.description(), **notes})

    def description(self) -> dict[str, object]:
        """What every checkpoint says of itself: what its tensors are, and where they were made."""
        device, strategy = next(self.model.parameters()).device, "fsdp" if self.plain is not None else "ddp"
        return describe_model(self.model) | {KEY: surroundings(str(device), self.ranks.count, strategy)}

    def tensors(self) -> dict[str, Tensor]:
        """All live tensors, under the names that shards use (`terrarium.run.shards`)."""
        parts = {
            "model": self.model.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": self._optimizer_tensors(),
        }
        return {f"{part}/{name}": tensor for part, held in parts.items() for name, tensor in held.items()}

    def load(self, folder: StageFolder, step: int) -> None:
        """Load everything from the checkpoint of a step.

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
        parallel.load(self.model, safetensors.torch.load(files["model.safetensors"]))
        parallel.load(self.average, safetensors.torch.load(files["ema.safetensors"]))
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
            name = names[parameter]
            state[index] = {"step": tensors[f"{name}/step"]}
            for key in ("exp_avg", "exp_avg_sq"):
                state[index][key] = parallel.shard_like(tensors[f"{name}/{key}"], parameter)
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
    """How two tables of parameters differ, in words; "" if they don't."""
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
    """Seed every generator of torch for a step. All randomness in training comes from here."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}".encode()) + (seed << 32))
