"""Verbs that make footage: `record` and `ingest`."""

from __future__ import annotations

from pathlib import Path

import click

from terrarium.cli.group import FOLDER, LONGEST_LINE, main
from terrarium.errors import UsageError

FRAMES = 12_000
STRIDE = 8  # the tokenizer's; importing it from there would import torch, so a test compares the two


@main.command()
@click.argument("env")
@click.option("--out", type=FOLDER, help="Folder for the footage; footage/ENV by default.")
@click.option("--frames", default=FRAMES, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--size", default="64x64", show_default=True, help="HEIGHTxWIDTH in pixels.")
@click.option("--frame-skip", type=click.IntRange(1, 1000), help="Game steps per stored frame; 4 for most.")
@click.option("--hold", default=4.0, show_default=True, help="Mean number of frames that an action is held.")
def record(
    env: str, out: Path | None, frames: int, seed: int, size: str, frame_skip: int | None, hold: float
) -> None:
    """Record footage from a Gymnasium environment. Actions are stored for scoring only."""
    from terrarium.data.sources.gymnasium import record as record_footage
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        dataset = record_footage(
            env,
            out or Path("footage") / env.replace("/", "_"),
            frames=frames,
            seed=seed,
            size=size_of(size),
            frame_skip=frame_skip,
            hold=hold,
            progress=lambda done, total: progress.update(f"recording {env}", done, total),
        )
    click.echo(f"{dataset.path}: {dataset.describe()}")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder for the footage.")
@click.option("--size", default="64x64", show_default=True, help="HEIGHTxWIDTH in pixels.")
@click.option("--rate", default=10.0, show_default=True, help="Frames per second to keep.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Picks what is held out."
)
def ingest(paths: tuple[Path, ...], out: Path, size: str, rate: float, seed: int) -> None:
    """Turn video files, folders of them, or a TinyWorlds *_frames.h5 into footage."""
    from terrarium.data.sources.video import ingest as ingest_footage
    from terrarium.doctor.wording import plain
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        report = ingest_footage(
            paths,
            out,
            size=size_of(size),
            frames_per_second=rate,
            seed=seed,
            progress=lambda done, total: progress.update("reading bytes", done, total),
        )
    for kept in report.kept:
        click.echo(plain(f"kept {kept}", LONGEST_LINE))
    for path, reason in report.skipped:
        click.echo(plain(f"skipped {path}: {reason}", LONGEST_LINE), err=True)
    click.echo(f"{report.dataset.path}: {report.dataset.describe()}")


def size_of(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH.

    Raises:
        UsageError: it is something else, or does not fit the grid of tokens.
    """
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and len(text) < 20):
        raise UsageError(f"--size {text!r} is not HEIGHTxWIDTH", "Write --size 64x64.")
    if int(height) % STRIDE or int(width) % STRIDE:
        raise UsageError(f"--size {text}: the sides must be multiples of {STRIDE}", "Write --size 64x64.")
    return int(height), int(width)
