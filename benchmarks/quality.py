"""Whether the quick preset reaches what it must: one command, one table.

    python benchmarks/quality.py FOLDER          record, train and score a run there, then judge it
    python benchmarks/quality.py --run RUN       judge a run that is finished

Exits with 1 where a target is missed. It runs `terrarium demo --no-play` in a process of its own and reads
what that leaves in the run folder: nothing is measured here that a user could not read there.
"""

from __future__ import annotations

import operator
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import click
from rich import box
from rich.console import Console
from rich.table import Table

from terrarium.errors import RunError, TerrariumError
from terrarium.run.folder import STAGES, RunFolder, read_json
from terrarium.run.rows import Row, read_history

Figures = dict[str, float]
SIGNS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<": operator.lt}
AIM, SHOWN = "aim", "shown"


@dataclass(frozen=True)
class Target:
    """A figure and what it must reach.

    Attributes:
        figure: dotted name, see `read_figures`.
        unit: of the figure.
        sign: one of `SIGNS`, or nothing where there is no target.
        bound: a number, or the dotted name of the figure that it is compared with.
        margin: added to the bound.
        note: `AIM` where missing it is no failure, `SHOWN` where there is no target.
    """

    figure: str
    unit: str
    sign: str = ""
    bound: float | str = 0.0
    margin: float = 0.0
    note: str = ""


TARGETS = (
    *(Target(f"training.{stage}.frames_per_second", "frames/s", ">=", 200) for stage in STAGES),
    Target("minutes", "min", "<", 15),
    Target("play.frames_per_second", "frames/s", ">=", 20),
    Target("play.p99_ms", "ms", "<", 100),
    Target("play.context_frames", "frames", ">=", 8),
    # "No collapse anywhere" names no number: a tenth of the tokens and half of the actions is our reading.
    Target("video_tokenizer.codes_used", "codes", ">=", 100),
    Target("latent_actions.codes_used", "codes", ">=", 4),
    Target("video_tokenizer.psnr", "dB", ">=", 30),
    Target("video_tokenizer.moving_psnr", "dB", ">", "video_tokenizer.copy_last_moving_psnr"),
    Target("video_tokenizer.moving_psnr", "dB", ">", "video_tokenizer.mean_frame_moving_psnr"),
    Target("video_tokenizer.ssim", "", note=SHOWN),
    Target("latent_actions.accuracy", "", ">=", "latent_actions.majority_accuracy", margin=0.2),
    Target("latent_actions.supervised_accuracy", "", note=SHOWN),
    Target("latent_actions.mutual_information", "nats", note=SHOWN),
    Target("latent_actions.shuffled_loss_ratio", "", ">", 1, note=AIM),
    Target("dynamics.delta_psnr_t4.mean", "dB", ">=", 0.5),
    Target("dynamics.delta_psnr_t4.low", "dB", ">", 0),
    Target("dynamics.delta_psnr_t4.mean", "dB", ">=", 1, note=AIM),
    # At t = 1 as far as the tokenizer's own ceiling allows.
    Target("dynamics.rollout_psnr.1", "dB", ">", "dynamics.copy_last_psnr.1", note=AIM),
    Target("dynamics.tokenizer_ceiling_psnr.1", "dB", note=SHOWN),
    Target("dynamics.rollout_psnr.4", "dB", ">", "dynamics.copy_last_psnr.4"),
    Target("dynamics.rollout_psnr.16", "dB", ">", "dynamics.copy_last_psnr.16"),
    Target("dynamics.rollout_psnr.64", "dB", ">", "dynamics.copy_last_psnr.64", note=AIM),
)
"""What the quick preset must reach on two cores at 64x64, on the default source."""


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="A finished run, instead of making one.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
def main(folder: Path | None, run: Path | None, assignments: tuple[str, ...]) -> None:
    """Print every figure beside its target."""
    if (folder is None) == (run is None):
        raise click.UsageError("give a new FOLDER for the run, or --run RUN")
    try:
        opened = RunFolder.open(run or make_run(Path(str(folder)), assignments))
        figures = read_figures(opened)
        if run is None:
            figures["minutes"] = minutes_of_demo(opened)
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    console = Console(width=120, highlight=False)
    console.print(
        f"{opened.path}, commit {opened.facts.get('commit')}, {opened.facts.get('threads')} threads"
    )
    console.print(times_table(opened, figures))
    console.print(targets_table(figures))
    missed = [target for target in TARGETS if not target.note and not is_reached(target, figures)]
    console.print(f"{len(missed)} missed" if missed else "all reached")
    sys.exit(1 if missed else 0)


def make_run(folder: Path, assignments: tuple[str, ...]) -> Path:
    """Run the demo in a folder; what it says goes to the terminal."""
    settings = [part for assignment in assignments for part in ("--set", assignment)]
    command = [sys.executable, "-m", "terrarium", "demo", "--no-play", "--run", str(folder), *settings]
    if subprocess.run(command, check=False).returncode:
        raise RunError(f"the demo in {folder} failed", "Its own message is above.")
    return folder


def read_figures(run: RunFolder) -> Figures:
    """Every number of `scores.json` under its dotted name, and what histories say about speed and time.

    Raises:
        RunError: the run has no scores.
    """
    if not (run.path / "scores.json").exists():
        raise RunError(f"{run.path} was not scored", f"Score it with: terrarium evaluate {run.path}")
    figures = flat(read_json(run.path / "scores.json"))
    for stage in run.stages():
        rows = read_history(stage.history_path).rows
        figures |= flat({"training": {stage.name: stage_figures(rows)}})
    figures["minutes"] = sum(figures.get(f"training.{stage}.seconds", 0.0) for stage in STAGES) / 60
    return figures


def minutes_of_demo(run: RunFolder) -> float:
    """From the end of the recording to the scores: tokenizing and scoring too, not only the three stages."""
    began = datetime.fromisoformat(str(run.facts["created"])).timestamp()
    return ((run.path / "scores.json").stat().st_mtime - began) / 60


def stage_figures(rows: list[Row]) -> Figures:
    """How fast a stage was trained, and how long that took over all resumes."""
    speeds = [row.get("frames_per_second") for row in rows]
    numbers = [float(speed) for speed in speeds if isinstance(speed, int | float)]
    last = rows[-1].get("runtime") if rows else None
    return {
        "frames_per_second": median(numbers) if numbers else 0.0,
        "seconds": float(last) if isinstance(last, int | float) else 0.0,
        "steps": float(len(rows)),
    }


def flat(tree: object, prefix: str = "") -> Figures:
    """The numbers of a tree of JSON objects, by dotted name."""
    if isinstance(tree, dict):
        parts = [flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in tree.items()]
        return {name: value for part in parts for name, value in part.items()}
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        return {prefix: float(tree)}
    return {}


def bound_of(target: Target, figures: Figures) -> float | None:
    """The number that a figure is held to; None where it was not measured."""
    bound = figures.get(target.bound) if isinstance(target.bound, str) else target.bound
    return None if bound is None else bound + target.margin


def is_reached(target: Target, figures: Figures) -> bool:
    """Whether a figure is where it must be; what was not measured is not."""
    value, bound = figures.get(target.figure), bound_of(target, figures)
    return value is not None and bound is not None and SIGNS[target.sign](value, bound)


def targets_table(figures: Figures) -> Table:
    """Every figure, its target, and whether it is reached, as a Markdown table."""
    table = Table("figure", "measured", "target", "reached", box=box.MARKDOWN)
    for target in TARGETS:
        value = figures.get(target.figure)
        shown = "not measured" if value is None else f"{value:.4g} {target.unit}"
        table.add_row(target.figure, shown, describe(target, figures), verdict(target, figures))
    return table


def describe(target: Target, figures: Figures) -> str:
    """What a figure is held to, in words."""
    if not target.sign:
        return ""
    bound = bound_of(target, figures)
    number = "not measured" if bound is None else f"{bound:.4g}"
    margin = f" + {target.margin:g}" if target.margin else ""
    source = f" ({target.bound.split('.', 1)[1]}{margin})" if isinstance(target.bound, str) else ""
    return f"{target.sign} {number}{source}"


def verdict(target: Target, figures: Figures) -> str:
    """In a word."""
    if not target.sign:
        return target.note
    return ("yes" if is_reached(target, figures) else "no") + (f" ({target.note})" if target.note else "")


def times_table(run: RunFolder, figures: Figures) -> Table:
    """What each stage took."""
    table = Table("stage", "steps", "seconds", "frames/s, median", box=box.MARKDOWN)
    for stage in run.stages():
        names = [f"training.{stage.name}.{name}" for name in ("steps", "seconds", "frames_per_second")]
        table.add_row(stage.name, *(f"{figures[name]:.0f}" for name in names))
    return table


if __name__ == "__main__":
    main()
