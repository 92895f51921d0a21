"""Footage of a square that its actions move, and runs of tiny models that were never trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from terrarium.config import Config, override
from terrarium.data.dataset import Dataset
from terrarium.data.writer import DatasetWriter
from terrarium.evaluate.trained import Trained
from terrarium.models.build import build_dynamics, build_latent_actions, build_tokenizer
from terrarium.presets import preset
from terrarium.run.checkpoint import commit_checkpoint
from terrarium.run.folder import RunFolder

SIZE = 32
ACTION_NAMES = ("STAY", "LEFT", "RIGHT")
SPEED = (0, -3, 3)
TINY = (
    "video_tokenizer.width=8",
    "video_tokenizer.decoder_width=8",
    "video_tokenizer.levels=[4,4]",
    "latent_actions.width=8",
    "latent_actions.radius=1",
    "latent_actions.bits=2",
    "dynamics.width=8",
    "dynamics.heads=2",
    "dynamics.trunk_layers=1",
    "dynamics.head_layers=1",
    "dynamics.context_frames=4",
    "evaluate.clips=6",
    "evaluate.frames=40",
    "evaluate.horizons=[1,4,16]",
    "evaluate.timing_steps=3",
    "evaluate.inverse_model_steps=2",
    "device=cpu",
)


def tiny_config(*assignments: str) -> Config:
    return override(preset("quick"), [*TINY, *assignments])


def draw_square(positions_T: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint8]:
    """Frames (T, SIZE, SIZE, 3) of a bright square on rough ground; what leaves right comes in left."""
    ground_HWC = np.random.default_rng(seed).integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
    frames_THWC = np.repeat(ground_HWC[None], len(positions_T), axis=0)
    for frame_HWC, position in zip(frames_THWC, positions_T.tolist(), strict=True):
        columns = (np.arange(8) + position) % SIZE
        frame_HWC[12:20, columns] = (250, 220, 90)
    return frames_THWC


def play_square(frames: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """An episode of random actions; action t moves the square between frames t and t + 1."""
    actions_T = np.random.default_rng(seed).integers(0, 3, frames)
    steps_T = np.array(SPEED)[actions_T]
    positions_T = 8 + np.concatenate([[0], np.cumsum(steps_T)[:-1]])
    return draw_square(positions_T), actions_T


def store_squares(path: Path, lengths: Sequence[int] = (30,) * 10, *, actions: bool = True) -> Dataset:
    """Write a dataset of episodes of these lengths; about a fifth is held out."""
    with DatasetWriter(
        path,
        height=SIZE,
        width=SIZE,
        frames_per_second=10,
        source="squares",
        held_out_fraction=0.2,
        action_names=ACTION_NAMES if actions else None,
    ) as writer:
        for seed, frames in enumerate(lengths):
            frames_THWC, actions_T = play_square(frames, seed)
            writer.add_episode(frames_THWC, actions_T if actions else None)
    return Dataset.open(path)


def untrained(config: Config, height: int = SIZE, width: int = SIZE) -> Trained:
    """Models with seeded random weights, none of them zero."""
    torch.manual_seed(0)
    models = (
        build_tokenizer(config, height, width),
        build_latent_actions(config),
        build_dynamics(config, height, width),
    )
    for model in models:
        _shake(model)
    return Trained(*models, torch.device("cpu"))


@dataclass(frozen=True)
class Simulator(Trained):
    """Stands in for a perfect world: knows how actions move the square, and paints it exactly.

    Attributes:
        effect: how far a code moves the square; (0, -3, 3, 0) is the truth.
    """

    effect: tuple[int, ...] = (*SPEED, 0)

    @staticmethod
    def make(effect: tuple[int, ...] = (*SPEED, 0)) -> Simulator:
        models = untrained(tiny_config())
        return Simulator(models.tokenizer, models.latent_actions, models.dynamics, models.device, effect)

    def reconstruct(self, frames_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return frames_NHWC, np.zeros((len(frames_NHWC), 1), np.int64)

    def infer_actions(self, frames_BTHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        moved_BT = np.diff([[find_square(frame) for frame in clip] for clip in frames_BTHWC]) % SIZE
        return np.select([moved_BT == SIZE - 3, moved_BT == 3], [1, 2], 0)

    def dream(
        self,
        context_BTHWC: NDArray[np.uint8],
        led_BT: NDArray[np.int64],
        taken_BT: NDArray[np.int64],
        seed: int,
    ) -> NDArray[np.uint8]:
        del led_BT, seed  # a perfect world needs neither
        starts_B = np.array([find_square(clip[-1]) for clip in context_BTHWC])
        return draw_square(starts_B + np.array(self.effect)[taken_BT].sum(1))


def find_square(frame_HWC: NDArray[np.uint8]) -> int:
    """The square's leftmost column, as `draw_square` counts."""
    bright_W = frame_HWC[12, :, 0] == 250
    return int(np.flatnonzero(bright_W & ~np.roll(bright_W, 1))[0])


def make_run(path: Path, dataset: Dataset, config: Config | None = None) -> RunFolder:
    """A run on a dataset, with a checkpoint of each stage; the weights are random."""
    config = config or tiny_config()
    facts = {
        "data": str(dataset.path),
        "data_fingerprint": dataset.fingerprint,
        "frame_size": [dataset.height, dataset.width],
        "config": config.model_dump(mode="json"),
    }
    run = RunFolder.create(path, facts=facts)
    models = untrained(config, dataset.height, dataset.width)
    for name, model in (
        ("video_tokenizer", models.tokenizer),
        ("latent_actions", models.latent_actions),
        ("dynamics", models.dynamics),
    ):
        _save(run, name, model)
    return run


def _shake(model: nn.Module) -> None:
    """Zero-initialised outputs would make a model blind to its inputs."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.eval().requires_grad_(False)


def _save(run: RunFolder, name: str, model: nn.Module) -> None:
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    blob = safetensors.torch.save(tensors)
    table = {
        key: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for key, tensor in tensors.items()
    }
    commit_checkpoint(
        run.stage(name).create(),
        1,
        {"model.safetensors": blob, "ema.safetensors": blob},
        state={"parameters": table, "trained": []},
        keep=1,
    )
