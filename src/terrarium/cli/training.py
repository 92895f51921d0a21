"""Verbs that train: `train`, `smoke` before it, `freeze` while it runs, and `demo`, which does it all."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click

from terrarium import launched
from terrarium.cli.footage import FRAMES
from terrarium.cli.group import FOLDER, main
from terrarium.cli.runs import asked_config, open_run, run_path, train_or_stop
from terrarium.cli.world import PORT, serve
from terrarium.errors import RunError, UsageError

DEMO_ENV = "VizdoomBasic-v1"


@main.command()
@click.option("--run", type=FOLDER, help="Folder of the run; a new one in results/ by default.")
@click.option("--env", default=DEMO_ENV, show_default=True, help="Gymnasium environment to record.")
@click.option("--frames", default=FRAMES, show_default=True, type=click.IntRange(min=100))
@click.option("--preset", help="quick (the default), small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--no-play", is_flag=True, help="Stop after the report instead of serving the world.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
def demo(
    run: Path | None,
    env: str,
    frames: int,
    preset: str | None,
    assignments: tuple[str, ...],
    no_play: bool,
    port: int,
) -> None:
    """Footage, three stages, scores, the report, and a world to play."""
    from terrarium.progress import ConsoleProgress

    config = asked_config(run, preset, assignments)
    with run_path(run) as path, ConsoleProgress() as progress:
        data = path / "footage"
        begun = (path / "run.json").exists()  # it goes on with the footage it began with
        if not begun and not (data / "dataset.json").exists():
            from terrarium.data.sources.gymnasium import record as record_footage

            record_footage(
                env,
                data,
                frames=frames,
                seed=config.seed if config else 0,
                progress=lambda done, total: progress.update(f"recording {env}", done, total),
            )
        finished = train_or_stop(path, None if begun else data, config, progress, "demo")
        if finished is None:
            return
        from terrarium.finished import known_scores, score

        if known_scores(finished) is None:
            score(finished, progress)
        progress.say(f"report: {finished.path / 'report.html'}")
    if not no_play:
        serve(finished, "127.0.0.1", port)


@main.command()
@click.option("--data", type=FOLDER, help="Footage, as recorded or ingested.")
@click.option("--run", type=FOLDER, help="Folder of the run; a new one in results/ by default.")
@click.option("--preset", help="quick (the default), small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--no-smoke", is_flag=True, help="Begin a long run without the trial before it.")
@click.option("--no-gates", is_flag=True, help="Train without asking the doctor.")
@click.option(
    "--no-heal", is_flag=True, help="Stop when the doctor finds a stage critical, instead of treating it."
)
def train(
    data: Path | None,
    run: Path | None,
    preset: str | None,
    assignments: tuple[str, ...],
    no_gates: bool,
    no_heal: bool,
    no_smoke: bool,
) -> None:
    """Train the three stages. Given the same --run again, it resumes where it was stopped.

    With several processes: torchrun --nproc-per-node 2 -m -- terrarium train ...
    """
    from terrarium.progress import ConsoleProgress
    from terrarium.smoke import smoke_once

    if data is None and run is None:
        raise UsageError("nothing says what to train on", "Give --data DATASET, or --run DIR to resume.")
    config = asked_config(run, preset, assignments)
    with run_path(run) as path, ConsoleProgress() as progress:
        trial = None
        if config is not None and data is not None and not no_smoke:
            trial = functools.partial(smoke_once, path, data, config, progress)
        finished = train_or_stop(
            path, data, config, progress, "train", gates=not no_gates, heal=not no_heal, before=trial
        )
    if finished is not None and launched.rank() == 0:
        click.echo(f"report: {finished.path / 'report.html'}")


@main.command()
@click.option("--data", type=FOLDER, required=True, help="Footage, as recorded or ingested.")
@click.option("--preset", default="quick", show_default=True, help="quick, small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option(
    "--beside", type=FOLDER, default=Path(), help="A folder on the disk of the run; here by default."
)
def smoke(data: Path, preset: str, assignments: tuple[str, ...], beside: Path) -> None:
    """Try in a minute or two what a long run relies on: training, saving, resuming, surviving a kill."""
    from terrarium.config import override
    from terrarium.presets import preset as named_preset
    from terrarium.progress import ConsoleProgress
    from terrarium.smoke import smoke as try_everything

    with ConsoleProgress() as progress:
        checks = try_everything(data, override(named_preset(preset), assignments), beside, progress)
    sys.exit(0 if all(check.passed for check in checks) else 1)


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for a live run to stop.")
def freeze(run: Path, timeout: float) -> None:
    """Pin the checkpoint to fall back on in each stage, and stop a live run cleanly. Nothing is killed.

    Exits 1 where there is none to fall back on.
    """
    from terrarium.run.freeze import freeze as freeze_run

    fallbacks = freeze_run(open_run(run), timeout)
    for stage, fallback in fallbacks.items():
        click.echo(f"{stage}: " + (f"pinned {fallback.name}" if fallback else "no whole checkpoint to pin"))
    if not any(fallbacks.values()):
        raise RunError(f"{run} has no whole checkpoint to fall back on", "Nothing trains it now.")
    click.echo(f"nothing trains it now; go on with: terrarium train --run {run}", err=True)
