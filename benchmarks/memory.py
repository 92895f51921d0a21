"""Whether footage ten times the memory that training may use trains as fast as footage that fits.

    python benchmarks/memory.py [--limit 1024]

From the start the kernel refuses this process more private memory than the limit (RLIMIT_DATA: whatever is
allocated counts, mapped files do not). Two footages are written, one an eighth of the limit and one ten times
as large as it, and thrown out of the page cache. The stages of a preset then train on either in turn, round
by round: the small one is soon in memory, the large one is read from the disk throughout. In the end the
large one is loaded whole, which must fail: else the limit would be none.
"""

from __future__ import annotations

import functools
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
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
from terrarium.models.latent_actions import LatentActions
from terrarium.models.tokenizer import VideoTokenizer
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

MIB = 1 << 20
SIDE, EPISODE_FRAMES = 64, 500
CPU = torch.device("cpu")
Rates = dict[str, tuple[list[float], list[float]]]
"""What is done -> frames per second on the small and on the large footage, one of each per round."""


@click.command()
@click.option("--limit", default=1024, show_default=True, help="MiB of private memory for this process.")
@click.option("--times", default=10.0, show_default=True, help="The large footage over the limit.")
@click.option("--files", default=40, show_default=True, help="Files that the large footage is split over.")
@click.option("--preset", "preset_name", default="quick", show_default=True)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--steps", default=8, show_default=True, type=click.IntRange(min=1), help="In a round.")
@click.option("--folder", type=click.Path(path_type=Path), help="For the footage; the system's by default.")
def main(
    limit: int,
    times: float,
    files: int,
    preset_name: str,
    assignments: tuple[str, ...],
    threads: int,
    rounds: int,
    steps: int,
    folder: Path | None,
) -> None:
    """Print frames per second on small and on large footage, and the memory that it took."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit * MIB, limit * MIB))
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as training does
    size = int(limit * MIB * times)
    try:
        config = override(preset(preset_name), assignments)
        with tempfile.TemporaryDirectory(prefix="terrarium-", dir=folder) as home:
            both = [
                footage(Path(home) / name, wanted, size // files)
                for name, wanted in (("small", limit * MIB // 8), ("large", size))
            ]
            footages = " beside ".join(described(dataset) for dataset in both)
            rates = compare(both, config, rounds, steps)
            refused = loading_is_refused(both[1])
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    console = Console(width=100, highlight=False)
    console.print(f"preset {preset_name}, {threads} threads, at most {limit} MiB of private memory,")
    console.print(footages)
    console.print(as_table(rates))
    console.print(f"private memory in the end: {private_memory() // MIB} MiB")
    if not refused:
        raise click.ClickException("the large footage could be loaded whole: the limit is none")


def footage(path: Path, size: int, file_bytes: int) -> Dataset:
    """Blocks of noise that drift, so many bytes of them, none in the page cache."""
    generator = np.random.default_rng(0)
    with DatasetWriter(
        path, height=SIDE, width=SIDE, frames_per_second=10, source="noise", shard_bytes=file_bytes
    ) as writer:
        while writer.frames_written * SIDE * SIDE * 3 < size:
            writer.add_episode(drifting(generator))
    for file in path.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return Dataset.open(path)


def drifting(generator: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """The frames of one episode."""
    blocks_HWC = generator.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for t in range(EPISODE_FRAMES):
        yield np.roll(blocks_HWC, t, axis=1)


def described(dataset: Dataset) -> str:
    """A footage for people."""
    frames = sum(map(len, (*dataset.train, *dataset.held_out)))
    files = len(list(dataset.path.glob("frames-*")))
    return f"{frames * SIDE * SIDE * 3 // MIB} MiB of {frames} frames in {files} files"


def compare(both: Sequence[Dataset], config: Config, rounds: int, steps: int) -> Rates:
    """Frames per second of each stage and of tokenizing, on either footage in turn."""
    rates: Rates = {}
    firsts = [tokenizer_stage(config, dataset, CPU) for dataset in both]
    rates["train video_tokenizer"] = in_turn(firsts, config, rounds, steps)
    seconds = [latent_actions_stage(config, dataset, CPU) for dataset in both]
    rates["train latent_actions"] = in_turn(seconds, config, rounds, steps)
    tokenizer, actions = firsts[0].model.eval(), seconds[0].model.eval()
    assert isinstance(tokenizer, VideoTokenizer)  # noqa: S101 - for the type checker
    assert isinstance(actions, LatentActions)  # noqa: S101 - likewise
    stores = [
        TokenStore(dataset.path / "tokens", ["memory"], tokenizer.rows * tokenizer.columns)
        for dataset in both
    ]
    rates["tokenize"] = tokenize_in_turn(stores, both, tokenizer, actions, rounds)
    thirds = [
        dynamics_stage(config, dataset, tokenizer, actions, store, CPU)
        for dataset, store in zip(both, stores, strict=True)
    ]
    rates["train dynamics"] = in_turn(thirds, config, rounds, steps)
    return rates


def in_turn(
    stages: Sequence[Stage], config: Config, rounds: int, steps: int
) -> tuple[list[float], list[float]]:
    """Frames per second of the one loop on small and on large footage, without history and checkpoints."""
    states = [TrainState.begin(stage.model, stage.config) for stage in stages]
    for stage, state in zip(stages, states, strict=True):
        train_seconds(stage, state, config, 2)  # first calls allocate
    frames = steps * stages[0].config.batch_size * stages[0].config.clip_frames
    small, large = list[float](), list[float]()
    for _ in range(rounds):
        for rates, stage, state in zip((small, large), stages, states, strict=True):
            rates.append(frames / train_seconds(stage, state, config, steps))
    return small, large


def train_seconds(stage: Stage, state: TrainState, config: Config, steps: int) -> float:
    """Seconds of so many steps, batches included."""
    began = time.perf_counter()
    with Prefetcher(stage.batches, state.step, state.step + steps) as batches:
        for batch in batches:
            train_step(state, stage, stage.to_inputs(batch), config)
    return time.perf_counter() - began


def tokenize_in_turn(
    stores: Sequence[TokenStore],
    both: Sequence[Dataset],
    tokenizer: VideoTokenizer,
    actions: LatentActions,
    rounds: int,
) -> tuple[list[float], list[float]]:
    """Frames per second of tokenizing an episode a round; the others get tokens of chance, unread."""
    encode = functools.partial(encode_episode, tokenizer, actions, CPU)
    small, large = list[float](), list[float]()
    for number in range(rounds):
        for rates, store, dataset in zip((small, large), stores, both, strict=True):
            episode = dataset.train[number % len(dataset.train)]
            began = time.perf_counter()
            store.fill([episode], encode, lambda *_: None)
            rates.append(len(episode) / (time.perf_counter() - began))
    generator = np.random.default_rng(0)

    def by_chance(frames_THWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        tokens = (len(frames_THWC), stores[0].places)
        return (
            generator.integers(0, tokenizer.quantizer.codes, tokens, np.uint16),
            generator.integers(0, actions.codes, len(frames_THWC) - 1, np.uint16),
        )

    for store, dataset in zip(stores, both, strict=True):
        store.fill(dataset.train, by_chance, lambda *_: None)
    return small, large


def private_memory() -> int:
    """Bytes in use that are this process's own, and no file's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def loading_is_refused(dataset: Dataset) -> bool:
    """Whether all frames at once are more than this process may have."""
    try:
        np.concatenate([episode.frames_THWC for episode in dataset.train])
    except MemoryError:
        return True
    return False


def as_table(rates: Rates) -> Table:
    """Medians over the rounds, as a Markdown table, to be pasted into the log."""
    names = "frames/s", "small", "large", "large over small", "lowest", "highest"
    table = Table(*names, box=box.MARKDOWN)
    for name, (small, large) in rates.items():
        ratios = [there / here for here, there in zip(small, large, strict=True)]
        shown = [f"{ratio:.2f}" for ratio in (median(ratios), min(ratios), max(ratios))]
        table.add_row(name, f"{median(small):.0f}", f"{median(large):.0f}", *shown)
    return table


if __name__ == "__main__":
    main()
