"""Trains the latent actions alone and prints what their codes have to do with the true actions.

    python benchmarks/latent_actions.py --data DATASET [--steps 200] [--every 50] [--set KEY=VALUE]

They are the stage that fails, and they fail quietly: the loss falls while the codes mean nothing. So this
prints, every so often, a table of code against true action on held-out episodes, the accuracy of the best map
from code to action (fitted on training episodes), the majority baseline, the mutual information, and the loss
with right codes beside that with shuffled ones. True actions are read here only; training sees pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from terrarium.config import Config, override
from terrarium.data.dataset import Dataset, Episode
from terrarium.data.loader import ClipSampler, Prefetcher
from terrarium.data.places import chunks, spread_places
from terrarium.errors import DataError, TerrariumError
from terrarium.evaluate.association import (
    best_map,
    count_pairs,
    majority_accuracy,
    map_accuracy,
    mutual_information,
)
from terrarium.evaluate.footage import first_actions
from terrarium.models.frames import to_video
from terrarium.models.latent_actions import LatentActions
from terrarium.presets import preset
from terrarium.train.stages import Stage, latent_actions_stage
from terrarium.train.state import TrainState
from terrarium.train.step import train_step

PAIRS = 3000  # of frames, spread over the training and over the held-out episodes
PROBE_CLIPS = 64  # for the loss with shuffled codes
CPU = torch.device("cpu")

Ints = NDArray[np.int64]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Footage with true actions.")
@click.option("--preset", "preset_name", default="quick", show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--steps", type=click.IntRange(min=1), help="The preset's by default.")
@click.option("--every", default=100, show_default=True, type=click.IntRange(min=1), help="Steps per table.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
def main(
    data: Path, preset_name: str, assignments: tuple[str, ...], steps: int | None, every: int, threads: int
) -> None:
    """Train the latent actions on footage and print code-against-action tables."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as training does
    lengths = () if steps is None else (f"latent_actions.steps={steps}",)
    try:
        config = override(preset(preset_name), [*assignments, *lengths])
        follow(config, Dataset.open(data), every)
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error


def follow(config: Config, dataset: Dataset, every: int) -> None:
    """Train with the loop's own step, and report every so many steps and at the end."""
    if dataset.action_names is None:
        raise DataError(f"{dataset.path} has no true actions", "Record footage with: terrarium record")
    console = Console(width=100, highlight=False)
    stage = latent_actions_stage(config, dataset, CPU)
    state = TrainState.begin(stage.model, stage.config)
    console.print(f"{dataset.describe()}\nloss of copying the last frame: {stage.chance_level:.4f}")
    began = time.perf_counter()
    with Prefetcher(stage.batches, 0, stage.config.steps) as batches:
        for batch in batches:
            row = train_step(state, stage, stage.to_inputs(batch), config)
            if state.step % every == 0 or state.step == stage.config.steps:
                console.print(
                    f"\nstep {state.step} after {time.perf_counter() - began:.0f} s: training loss "
                    f"{row['loss']:.4f}, code entropy {row['action_entropy']:.2f} nats"
                )
                report(console, state, stage, dataset)


def report(console: Console, state: TrainState, stage: Stage, dataset: Dataset) -> None:
    """Print how the averaged model does on held-out footage."""
    model, names = state.average, dataset.action_names or ()
    assert isinstance(model, LatentActions)  # noqa: S101 - for the type checker
    train_KA, held_KA = (meetings(model, part, len(names)) for part in (dataset.train, dataset.held_out))
    right, shuffled = held_out_losses(model, dataset, stage)
    console.print(
        f"accuracy {map_accuracy(held_KA, best_map(train_KA)):.1%}, "
        f"majority {majority_accuracy(held_KA, train_KA):.1%}, "
        f"mutual information {mutual_information(held_KA):.3f} nats; "
        f"held-out loss {right:.4f}, with shuffled codes {shuffled:.4f}",
        soft_wrap=True,
    )
    console.print(as_table(held_KA, names))


@torch.inference_mode()
def meetings(model: LatentActions, episodes: Sequence[Episode], actions: int) -> Ints:
    """How often each code met each true action (codes, actions)."""
    places = spread_places(episodes, 2, PAIRS)
    if not places:
        raise DataError("no episode has two frames", "Record longer footage.")
    codes_N = np.concatenate([model.encode(to_video(pairs))[1][:, 0].numpy() for pairs in chunks(places)])
    return count_pairs(codes_N, first_actions(places), model.codes, actions)


@torch.inference_mode()
def held_out_losses(model: LatentActions, dataset: Dataset, stage: Stage) -> tuple[float, float]:
    """The loss with the right codes, and with those of other clips."""
    clips = ClipSampler(dataset.held_out, stage.config.clip_frames, PROBE_CLIPS, 0, "latent_actions/probe")
    video_BTCHW = to_video(clips.batch(0).video_BTHWC)
    signs_BTA, _ = model.encode(video_BTCHW)
    right, shuffled = (
        model.error(video_BTCHW, model.predict(video_BTCHW, signs)).mean().item()
        for signs in (signs_BTA, signs_BTA.roll(1, 0))
    )
    return right, shuffled


def as_table(counts_KA: Ints, names: Sequence[str]) -> Table:
    """Codes down, true actions across."""
    table = Table("code", *names, box=box.MARKDOWN)
    for code, row in enumerate(counts_KA.tolist()):
        table.add_row(str(code), *(str(number) for number in row))
    return table


if __name__ == "__main__":
    main()
