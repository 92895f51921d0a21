"""How fast a preset trains and plays on this machine: one command, one table, with ratios.

    python benchmarks/speed.py [--data DATASET]

Speed does not depend on what the models have learnt, so nothing is trained to any end here. The stages take
turns for a few rounds and the median round counts, so that a busy machine slows all of them alike: where
absolute figures wobble, ratios hold still.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from terrarium.config import Config, override
from terrarium.data.dataset import Dataset
from terrarium.data.loader import Prefetcher
from terrarium.data.tokens import TokenStore
from terrarium.data.writer import DatasetWriter
from terrarium.errors import TerrariumError
from terrarium.models.dynamics import Dynamics
from terrarium.models.latent_actions import LatentActions
from terrarium.models.tokenizer import VideoTokenizer
from terrarium.models.world import World
from terrarium.presets import preset
from terrarium.train.stages import (
    Stage,
    dynamics_stage,
    encode_episode,
    latent_actions_stage,
    tokenizer_stage,
)
from terrarium.train.state import TrainState
from terrarium.train.step import train_step

EPISODES = 8  # of any footage: which frames are seen changes nothing, and tokenizing more takes time
EPISODE_FRAMES = 60
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        name: what was timed.
        frames_per_second: median.
        ratio: to the tokenizer for stages, to play with decoding for play.
        median_ms: of a training step, or of a generated frame.
        p99_ms: of a generated frame; None for training, which has too few steps here.
    """

    name: str
    frames_per_second: float
    ratio: float
    median_ms: float
    p99_ms: float | None = None


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Footage; noise is made where none is given.")
@click.option("--preset", "preset_name", default="quick", show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--steps", default=8, show_default=True, type=click.IntRange(min=1), help="Per stage and round."
)
@click.option("--play-steps", default=200, show_default=True, type=click.IntRange(min=2))
def main(
    data: Path | None,
    preset_name: str,
    assignments: tuple[str, ...],
    threads: int,
    rounds: int,
    steps: int,
    play_steps: int,
) -> None:
    """Print frames per second of training and of play."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as training does
    try:
        config = override(preset(preset_name), assignments)
        with tempfile.TemporaryDirectory(prefix="terrarium-") as folder:
            dataset = Dataset.open(data) if data else noise_footage(Path(folder) / "noise")
            stages = build_stages(config, dataset, Path(folder))
            measured = [*training(stages, config, rounds, steps), *play(stages, dataset, play_steps)]
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    console = Console(width=100, highlight=False)
    console.print(f"preset {preset_name}, {dataset.source}, {threads} threads, torch {torch.__version__}")
    console.print(as_table(measured))


def noise_footage(path: Path) -> Dataset:
    """Blocks of noise that drift: as costly as any footage of 64x64."""
    generator = np.random.default_rng(0)
    with DatasetWriter(path, height=64, width=64, frames_per_second=10, source="noise") as writer:
        for _ in range(EPISODES):
            blocks_HWC = generator.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            writer.add_episode(np.stack([np.roll(blocks_HWC, t, axis=1) for t in range(EPISODE_FRAMES)]))
    return Dataset.open(path)


def build_stages(config: Config, dataset: Dataset, folder: Path) -> list[Stage]:
    """The three stages with untrained weights; dynamics gets the tokens that these make."""
    dataset.train = dataset.train[:EPISODES]
    first, second = tokenizer_stage(config, dataset, CPU), latent_actions_stage(config, dataset, CPU)
    tokenizer, actions = first.model.eval(), second.model.eval()
    assert isinstance(tokenizer, VideoTokenizer)  # noqa: S101 - for the type checker
    assert isinstance(actions, LatentActions)  # noqa: S101 - likewise
    store = TokenStore(folder, ["speed"], tokenizer.rows * tokenizer.columns)
    store.fill(dataset.train, functools.partial(encode_episode, tokenizer, actions, CPU), lambda *_: None)
    return [first, second, dynamics_stage(config, dataset, tokenizer, actions, store, CPU)]


def training(stages: list[Stage], config: Config, rounds: int, steps: int) -> list[Measured]:
    """Training frames per second of each stage, batches included."""
    states = [TrainState.begin(stage.model, stage.config) for stage in stages]
    turns = list(zip(stages, states, strict=True))
    for stage, state in turns:
        train_seconds(stage, state, config, 2)  # warm-up: first calls allocate
    seconds = [[train_seconds(*turn, config, steps) for turn in turns] for _ in range(rounds)]
    step_seconds = [median(column) / steps for column in zip(*seconds, strict=True)]
    rates = [frames(stage) / step for stage, step in zip(stages, step_seconds, strict=True)]
    return [
        Measured(title(stage), rate, rate / rates[0], 1000 * step)
        for stage, rate, step in zip(stages, rates, step_seconds, strict=True)
    ]


def frames(stage: Stage) -> int:
    """Frames of a batch."""
    return stage.config.batch_size * stage.config.clip_frames


def title(stage: Stage) -> str:
    """The stage and its size."""
    parameters = sum(parameter.numel() for parameter in stage.model.parameters())
    return f"train {stage.name}, {parameters / 1e6:.2f} M parameters"


def train_seconds(stage: Stage, state: TrainState, config: Config, steps: int) -> float:
    """Seconds that so many steps of the one loop take, without history and checkpoints."""
    began = time.perf_counter()
    with Prefetcher(stage.batches, state.step, state.step + steps) as batches:
        for batch in batches:
            train_step(state, stage, stage.to_inputs(batch), config)
    return time.perf_counter() - began


def play(stages: list[Stage], dataset: Dataset, steps: int) -> list[Measured]:
    """Generated frames per second, one world at a time, with decoding and without."""
    tokenizer, actions, dynamics = (stage.model.eval().requires_grad_(False) for stage in stages)
    assert isinstance(tokenizer, VideoTokenizer)  # noqa: S101 - for the type checker
    assert isinstance(actions, LatentActions)  # noqa: S101 - likewise
    assert isinstance(dynamics, Dynamics)  # noqa: S101 - likewise
    world = World(tokenizer, actions, dynamics)
    start_THWC = dataset.held_out[0].frames_THWC[: world.context_frames]
    painted = step_milliseconds(world, start_THWC, world.step, steps)
    unpainted = step_milliseconds(world, start_THWC, world.step_tokens, steps)
    return [
        generated("play, with decoding", painted, painted),
        generated("play, without decoding", unpainted, painted),
    ]


def step_milliseconds(
    world: World, start_THWC: NDArray[np.uint8], step: Callable[[int], object], steps: int
) -> NDArray[np.float64]:
    """How long each step takes once the context is full."""
    world.reset(start_THWC)
    ends = [time.perf_counter()]
    for taken in range(world.context_frames + steps):
        step(taken % world.actions)
        ends.append(time.perf_counter())
    return 1000 * np.diff(ends)[world.context_frames :]


def generated(name: str, ms: NDArray[np.float64], other_ms: NDArray[np.float64]) -> Measured:
    """A line about play, its ratio that to the other times."""
    middle, late = np.percentile(ms, [50, 99]).tolist()
    return Measured(name, 1000 / middle, float(np.median(other_ms)) / middle, middle, late)


def as_table(measured: list[Measured]) -> Table:
    """The figures as a Markdown table, to be pasted into the log."""
    table = Table("what", "frames/s", "ratio", "median ms", "p99 ms", box=box.MARKDOWN)
    for line in measured:
        late = "" if line.p99_ms is None else f"{line.p99_ms:.1f}"
        numbers = f"{line.frames_per_second:.0f}", f"{line.ratio:.2f}", f"{line.median_ms:.1f}", late
        table.add_row(line.name, *numbers)
    return table


if __name__ == "__main__":
    main()
