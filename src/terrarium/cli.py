"""The command line: one function per verb. Torch is imported only by the verbs that need it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from terrarium.errors import TerrariumError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from terrarium.config import Config
    from terrarium.progress import ConsoleProgress
    from terrarium.run.folder import RunFolder

PORT = 8400
DEMO_ENV = "VizdoomBasic-v1"
DEMO_FRAMES = 12_000
LONGEST_LINE = 4000  # names of files may hold anything: what is said of them stays one line
FOLDER = click.Path(path_type=Path)


class Verbs(click.Group):
    """Turns errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        before = signal.signal(signal.SIGTERM, _end)
        try:
            return super().invoke(ctx)
        except TerrariumError as error:
            _fail(str(error), error.exit_code)
        except BrokenPipeError:
            sys.exit(1)  # whoever read our output has left
        except OSError as error:  # a disk that is full or fails, where no one else has a word for it
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
        finally:
            signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every open context: a game's process ends with us, and no half-made folder stays."""
    sys.exit(128 + number)


def _fail(text: str, code: int) -> NoReturn:
    from terrarium.doctor.wording import plain

    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(plain(text, LONGEST_LINE), err=True)
    sys.exit(code)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="terrarium")
def main() -> None:
    """Grow a small playable world out of gameplay video, and know how healthy it is."""


@main.command()
@click.option("--run", type=FOLDER, help="Folder of the run; a new one in results/ by default.")
@click.option("--env", default=DEMO_ENV, show_default=True, help="Gymnasium environment to record.")
@click.option("--frames", default=DEMO_FRAMES, show_default=True, type=click.IntRange(min=100))
@click.option("--preset", help="quick (the default), small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--no-play", is_flag=True, help="End instead of serving the world.")
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

    config = _config(run, preset, assignments)
    run = run or _new_run()
    data = run / "footage"
    begun = (run / "run.json").exists()  # on whatever footage: it goes on with that
    with ConsoleProgress() as progress:
        if not begun and not (data / "dataset.json").exists():
            from terrarium.data.sources.gymnasium import record as record_footage

            record_footage(
                env,
                data,
                frames=frames,
                seed=config.seed if config else 0,
                progress=lambda done, total: progress.update(f"recording {env}", done, total),
            )
        finished = _train(run, None if begun else data, config, progress, "demo")
        if finished is None:
            return
        from terrarium.pipeline import known_scores, score

        if known_scores(finished) is None:
            score(finished, progress)
        progress.say(f"report: {finished.path / 'report.html'}")
    if not no_play:
        _play(finished, "127.0.0.1", port)


@main.command()
@click.argument("env")
@click.option("--out", type=FOLDER, help="Folder for the footage; footage/ENV by default.")
@click.option("--frames", default=DEMO_FRAMES, show_default=True, type=click.IntRange(min=1))
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
            size=_size(size),
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
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the held-out split."
)
def ingest(paths: tuple[Path, ...], out: Path, size: str, rate: float, seed: int) -> None:
    """Make footage of video files, folders of them, or a TinyWorlds *_frames.h5."""
    from terrarium.data.sources.video import ingest as ingest_footage
    from terrarium.doctor.wording import plain
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        report = ingest_footage(
            paths,
            out,
            size=_size(size),
            frames_per_second=rate,
            seed=seed,
            progress=lambda done, total: progress.update("reading bytes", done, total),
        )
    for kept in report.kept:
        click.echo(plain(f"kept {kept}", LONGEST_LINE))
    for path, reason in report.skipped:
        click.echo(plain(f"skipped {path}: {reason}", LONGEST_LINE), err=True)
    click.echo(f"{report.dataset.path}: {report.dataset.describe()}")


@main.command()
@click.option("--data", type=FOLDER, help="Footage, as recorded or ingested.")
@click.option("--run", type=FOLDER, help="Folder of the run; a new one in results/ by default.")
@click.option("--preset", help="quick (the default), small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--no-smoke", is_flag=True, help="Begin a long run without the trial that comes before it.")
@click.option("--no-gates", is_flag=True, help="Train without asking the doctor.")
@click.option("--no-heal", is_flag=True, help="Stop where the doctor finds a stage critical; treat nothing.")
def train(
    data: Path | None,
    run: Path | None,
    preset: str | None,
    assignments: tuple[str, ...],
    no_gates: bool,
    no_heal: bool,
    no_smoke: bool,
) -> None:
    """Train the three stages. The same command again resumes where it was stopped."""
    from terrarium.progress import ConsoleProgress
    from terrarium.smoke import smoke_once

    if data is None and run is None:
        raise UsageError("nothing says what to train on", "Give --data DATASET, or --run DIR to resume.")
    config, run = _config(run, preset, assignments), run or _new_run()
    with ConsoleProgress() as progress:
        if config is not None and data is not None and not no_smoke:
            smoke_once(run, data, config, progress)
        finished = _train(run, data, config, progress, "train", gates=not no_gates, heal=not no_heal)
    if finished is not None:
        click.echo(f"report: {finished.path / 'report.html'}")


@main.command()
@click.option("--data", type=FOLDER, required=True, help="Footage, as recorded or ingested.")
@click.option("--preset", default="quick", show_default=True, help="quick, small or base.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option(
    "--beside", type=FOLDER, default=Path(), help="A folder on the disk of the run; here by default."
)
def smoke(data: Path, preset: str, assignments: tuple[str, ...], beside: Path) -> None:
    """Try in a minute or two what a long run relies on: it trains, saves, resumes, survives a kill."""
    from terrarium.config import override
    from terrarium.config import preset as named_preset
    from terrarium.progress import ConsoleProgress
    from terrarium.smoke import smoke as try_everything

    with ConsoleProgress() as progress:
        checks = try_everything(data, override(named_preset(preset), assignments), beside, progress)
    sys.exit(0 if all(check.passed for check in checks) else 1)


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON object.")
def evaluate(run: Path, as_json: bool) -> None:
    """Score a run on the footage that was held out."""
    from terrarium.pipeline import score
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        folder = _open(run)
        scores = score(folder, progress)
    if as_json:
        click.echo(json.dumps(scores, allow_nan=False))
    else:
        click.echo((folder.path / "report.md").read_text(encoding="utf-8"))


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Anything else than loopback is on you.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
def play(run: Path, host: str, port: int) -> None:
    """Serve the world of a run to a browser."""
    _play(_open(run), host, port)


@main.command()
@click.argument("path", type=FOLDER)
@click.option(
    "--level",
    default=3,
    show_default=True,
    type=click.IntRange(0, 5),
    help="0 files, 1 sha256, 2 loads, 3 makes sense; of the newest: 4 a probe's loss, 5 a replay.",
)
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def verify(path: Path, level: int, as_json: bool) -> None:
    """Judge a checkpoint, or every one of a run. Exits 0 if whole, 11 if not, 12 if it could not be told."""
    from terrarium.run.checkpoint import judge_path

    judgements = judge_path(path, min(level, 3))
    verdicts: list[dict[str, Any]] = [
        {
            "path": str(each.path),
            "step": each.step,
            "whole": each.whole,
            "level": each.level,
            "reason": each.reason,
            "weights_whole": each.whole or each.weights_whole,
            "fallback": str(each.fallback) if each.fallback else None,
        }
        for each in judgements
    ]
    if level > 3 and all(each.whole for each in judgements):
        verdicts += _proofs(path, level)
    if as_json:
        click.echo(json.dumps(verdicts))
    else:
        for verdict in verdicts:
            click.echo(_verdict_line(verdict))
    states = {verdict["whole"] for verdict in verdicts}
    sys.exit(11 if False in states else 12 if None in states else 0)


def _proofs(path: Path, level: int) -> list[dict[str, Any]]:
    from terrarium.pipeline import prove
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        proofs = [
            {"path": str(proof.path), "whole": proof.holds, "level": proof.level, "reason": proof.reason}
            for proof in prove(path, level, progress)
        ]
    alone = {"path": str(path), "whole": None, "level": 4, "reason": "it stands in no run to be used in"}
    return proofs or [alone]


def _verdict_line(verdict: dict[str, Any]) -> str:
    word = {True: "whole", False: "NOT whole", None: "can't tell"}[verdict["whole"]]
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    fallback = f" (fall back on {verdict['fallback']})" if verdict.get("fallback") else ""
    return f"{verdict['path']}: {word}, level L{verdict['level']}{reason}{fallback}"


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for a live run to leave.")
def freeze(run: Path, timeout: float) -> None:
    """Pin the checkpoint to fall back on in each stage, and stop a live run cleanly. Nothing is killed."""
    from terrarium.run.freeze import freeze as freeze_run

    for stage, fallback in freeze_run(_open(run), timeout).items():
        click.echo(f"{stage}: " + (f"pinned {fallback.name}" if fallback else "no whole checkpoint to pin"))


@main.command()
@click.argument("paths", nargs=-1, type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder for the report; the run itself by default, if it is ours.")
@click.option("--language", type=click.Choice(["en", "zh"]), help="Of the report; the locale's by default.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json to stdout and nothing else.")
@click.option("--stage", help="Stage that bare histories belong to.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Name of a column.")
@click.option("--config", type=FOLDER, help="Training configuration, JSON or YAML.")
@click.option("--follow", is_flag=True, help="Keep watching; speak when something changes.")
@click.option(
    "--interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 86400),
    help="Seconds between looks.",
)
@click.option("--explain", metavar="CODE", help="Print the page of a detector.")
@click.option("--list", "list_all", is_flag=True, help="Print the codes of all detectors.")
def diagnose(
    paths: tuple[Path, ...],
    out: Path | None,
    language: str | None,
    as_json: bool,
    stage: str | None,
    columns: tuple[str, ...],
    config: Path | None,
    follow: bool,
    interval: float,
    explain: str | None,
    list_all: bool,
) -> None:
    """Tell the truth about a training run, ours or anybody's, finished or alive.

    PATHS are a run folder, a tree of results, a stage folder, or histories (CSV, JSON, JSONL, .wandb,
    TensorBoard events, trackio). Exits 0 if all is normal, 10 to watch, 11 if critical, 12 if unknown.
    """
    from terrarium.doctor import consult

    if list_all or explain is not None:
        click.echo(
            consult.page_of(explain, language) if explain is not None else consult.list_pages(language)
        )
        return
    consultation = consult.Consultation(
        paths, out, language, as_json, stage, consult.parse_columns(columns), config
    )
    sys.exit(consultation.follow(interval) if follow else consultation.once())


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, default=Path("Logs"), show_default=True)
def export(run: Path, out: Path) -> None:
    """Write the histories under the names and columns that the field's scripts expect."""
    from terrarium.run.export import export_histories

    for path in export_histories(_open(run), out):
        click.echo(path)


def _config(run: Path | None, preset: str | None, assignments: tuple[str, ...]) -> Config | None:
    """What was asked for, a run that exists being asked for as it is; None where nothing was."""
    from terrarium.config import from_tree, override
    from terrarium.config import preset as named_preset

    if run is not None and (run / "run.json").exists() and preset is None:
        own = from_tree(_open(run).facts.get("config"), str(run / "run.json"))
        return override(own, assignments) if assignments else None
    return override(named_preset(preset or "quick"), assignments)


def _new_run() -> Path:
    from terrarium.run.folder import RESULTS, new_run_path

    return new_run_path(Path(RESULTS))


def _open(run: Path) -> RunFolder:
    from terrarium.run.folder import RunFolder

    return RunFolder.open(run)


def _train(
    run: Path,
    data: Path | None,
    config: Config | None,
    progress: ConsoleProgress,
    verb: str,
    *,
    gates: bool = True,
    heal: bool = True,
) -> RunFolder | None:
    """The trained run, or None where it was asked to stop before the end."""
    from terrarium.pipeline import train as train_run
    from terrarium.train.interruption import Interrupted

    try:
        return train_run(run, data, config, progress, gates=gates, heal=heal)
    except Interrupted as stopped:
        progress.say(f"{stopped}. Go on with: terrarium {verb} --run {run}")
        return None


def _play(run: RunFolder, host: str, port: int) -> None:
    from terrarium.pipeline import serve_world

    serve_world(run, host, port, announce=lambda url: click.echo(f"play at {url} (Ctrl-C ends)"))


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal() and len(text) < 20):
        raise UsageError(f"--size {text!r} is not HEIGHTxWIDTH", "Write --size 64x64.")
    return int(height), int(width)
