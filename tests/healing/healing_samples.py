"""Stages in training that fall ill, and what their gates wrote down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from terrarium.data.dataset import Dataset
from terrarium.healing import DoctorGate
from terrarium.healing.way_back import WayBack
from terrarium.run.folder import StageFolder
from terrarium.run.history import History
from terrarium.train.loop import train_stage
from terrarium.train.pictures import Picture
from terrarium.train.stages import Stage
from tiny_training import Told, make_folder, make_stage
from tiny_world import tiny_config

NAME = "video_tokenizer"
EVERY = ("checkpoint_every=20", "gate_every=20", "picture_every=100000", "warmup_steps=10")


class Ward:
    """A tiny tokenizer in training, with a gate.

    Args:
        path: of the run.
        footage: to train on.
        settings: of the stage, such as "steps=40".
        heal: whether the gate may treat it.
        seed: of the run.
    """

    def __init__(
        self, path: Path, footage: Dataset, *settings: str, heal: bool = True, seed: int = 0
    ) -> None:
        self.config = tiny_config(f"seed={seed}", *(f"{NAME}.{each}" for each in (*EVERY, *settings)))
        self.folder: StageFolder = make_folder(path, NAME)
        stage = make_stage(NAME, footage, path, self.config)
        self.stage = dataclasses.replace(stage, draw=_draw_nothing)
        plan = {"steps": stage.config.steps, "config": stage.config.model_dump(mode="json")}
        plan |= {"chance_level": stage.chance_level, "loss_unit": stage.loss_unit}
        (self.folder.path / "config.json").write_text(json.dumps(plan))
        self.told, self.heal = Told(), heal

    def gate(self) -> DoctorGate:
        return DoctorGate(self.stage, self.folder, self.config, heal=self.heal, say=self.told.say)

    def way_back(self, processes: int = 1) -> WayBack:
        """One that remembers no state."""
        return WayBack(self.stage, self.stage.model, self.folder, self.config, self.told.say, processes)

    def train(self) -> None:
        train_stage(self.stage, self.folder, self.config, self.told, self.gate())

    def wrap(self, to_inputs: Any) -> None:
        """Let the inputs of a batch be something else."""
        self.stage = dataclasses.replace(self.stage, to_inputs=to_inputs)

    def decisions(self, *what: str) -> list[dict[str, Any]]:
        """The lines of `gates.jsonl`; only those of some kinds, if any are named."""
        lines = (self.folder.path / "gates.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if not what or row["what"] in what]

    def write_history(
        self, losses: Sequence[float] | NDArray[np.float64], **measures: NDArray[np.float64]
    ) -> None:
        """A history as if it had been trained, with further columns."""
        with History(self.folder) as history:
            for step, loss in enumerate(losses):
                rate = self.stage.config.learning_rate
                row = {"step": step, "runtime": 0.3 * step, "loss": float(loss), "learning_rate": rate}
                history.append(row | {name: float(values[step]) for name, values in measures.items()})


def ill_losses(rows: int = 240, at: int = 150) -> NDArray[np.float64]:
    """A loss that falls, then rises to three times its level and stays there."""
    noise = np.exp(np.random.default_rng(0).normal(0, 0.03, rows))
    steps = np.arange(rows)
    falling = 0.015 * (1 + 3 * np.exp(-steps / 30))  # better than guessing, which reaches 0.08
    return falling * noise * np.where(steps < at, 1, 1 + np.minimum(2, (steps - at) / 20))


def poisoned(stage: Stage, numbers: set[int]) -> Any:
    """To inputs, but the footage of some batches is not finite, however often they are drawn."""
    ill = {_places(stage.batches.batch(number)) for number in numbers}

    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        (video,) = stage.to_inputs(drawn)
        return (torch.full_like(video, float("nan")) if _places(drawn) in ill else video,)

    return to_inputs


def _places(clips: Any) -> tuple[Any, ...]:
    return (*clips.episode_B.tolist(), *clips.start_B.tolist())


def struck(stage: Stage, at: int) -> Any:
    """To inputs, but once, before a step, the live weights are overwritten: no fault of rate or batches."""
    left = [at]

    @torch.no_grad()
    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        left[0] -= 1
        if left[0] == 0:
            generator = torch.Generator().manual_seed(0)
            for parameter in stage.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return stage.to_inputs(drawn)

    return to_inputs


class OneClipOnly(nn.Module):
    """A model that finds room for one clip at a time."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, video_BTCHW: torch.Tensor) -> Any:
        if self.training and len(video_BTCHW) > 1:  # without gradients there is room
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.model(video_BTCHW)


def _draw_nothing(_model: nn.Module) -> Picture:
    blank_BTHWC = np.zeros((1, 1, 8, 8, 3), np.uint8)
    return Picture("blank", blank_BTHWC, blank_BTHWC, ["nothing"])
