"""Stages ready to be trained for a few steps, and what to compare afterwards."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn

from terrarium.config import Config
from terrarium.data.dataset import Dataset
from terrarium.data.tokens import TokenStore
from terrarium.models.build import build_latent_actions, build_tokenizer
from terrarium.progress import ConsoleProgress
from terrarium.run.folder import RunFolder, StageFolder
from terrarium.run.rows import Row, read_history
from terrarium.run.sameness import MACHINE, differences
from terrarium.train.loop import train_stage
from terrarium.train.pictures import Picture
from terrarium.train.stages import (
    Stage,
    dynamics_stage,
    encode_episode,
    latent_actions_stage,
    tokenizer_stage,
)
from tiny_world import tiny_config

CPU = torch.device("cpu")


class Told(ConsoleProgress):
    """Progress that remembers what it was told, and does something when a step was taken.

    Args:
        react: is given the number of steps taken.
    """

    def __init__(self, react: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.lines: list[str] = []
        self.rows: list[Row] = []
        self.asked: list[tuple[str, int]] = []
        self._react = react

    def say(self, text: str) -> None:
        self.lines.append(text)

    def step(self, stage: str, row: Row, steps: int) -> None:
        self.rows.append(dict(row))
        self.asked.append((stage, steps))
        self._react(len(self.rows))


def flip_a_bit(path: Path) -> None:
    """What a bad disk does."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


class Crash(BaseException):
    """Stands for whatever ends a process without a word."""


def crash_after(steps: int) -> Told:
    """Progress that dies when so many steps were taken."""

    def react(taken: int) -> None:
        if taken == steps:
            raise Crash

    return Told(react)


def terminate_after(steps: int, number: signal.Signals = signal.SIGTERM) -> Told:
    """Progress that asks this process to end when so many steps were taken."""

    def react(taken: int) -> None:
        if taken == steps:
            signal.raise_signal(number)

    return Told(react)


def make_folder(run_path: Path, name: str) -> StageFolder:
    """The folder of a stage in a new run."""
    return RunFolder.create(run_path, facts={}).stage(name).create()


def make_stage(name: str, footage: Dataset, scratch: Path, config: Config) -> Stage:
    """A stage before its first step; dynamics stand on models that have learnt nothing."""
    if name == "video_tokenizer":
        return tokenizer_stage(config, footage, CPU)
    if name == "latent_actions":
        return latent_actions_stage(config, footage, CPU)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(config, footage.height, footage.width).eval()
    actions = build_latent_actions(config).eval()
    store = TokenStore(scratch / "tokens", ["untrained"], tokenizer.rows * tokenizer.columns)
    encode = functools.partial(encode_episode, tokenizer, actions, CPU)
    store.fill(footage.train, encode, lambda _done, _total: None)
    return dynamics_stage(config, footage, tokenizer, actions, store, CPU)


def train(folder: StageFolder, footage: Dataset, *assignments: str, progress: Told | None = None) -> Told:
    """Train the stage of a folder with the tiny configuration; its pictures are blank, to save time."""
    config, progress = tiny_config(*assignments), progress or Told()
    stage = make_stage(folder.name, footage, folder.path.parent, config)
    train_stage(dataclasses.replace(stage, draw=draw_nothing), folder, config, progress)
    return progress


def draw_nothing(_model: nn.Module) -> Picture:
    blank_BTHWC = np.zeros((1, 1, 8, 8, 3), np.uint8)
    return Picture("blank", blank_BTHWC, blank_BTHWC, ["nothing"])


def timeless(folder: StageFolder) -> list[dict[str, object]]:
    """The rows of a history without what a clock says."""
    rows = read_history(folder.history_path).rows
    return [{key: value for key, value in row.items() if key not in MACHINE} for row in rows]


def discarded(folder: StageFolder) -> list[dict[str, object]]:
    """The rows that were taken back."""
    path = folder.discarded_path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tensor_bytes(folder: StageFolder) -> dict[str, bytes]:
    """The content of all tensor files of a stage, by their place in it."""
    files = sorted(folder.checkpoints_path.rglob("*.safetensors"))
    return {str(file.relative_to(folder.checkpoints_path)): file.read_bytes() for file in files}


def assert_same_run(run: RunFolder, other: RunFolder) -> None:
    """Both became the same, bit for bit, in every stage."""
    assert differences(run, other) == []
