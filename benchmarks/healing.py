"""Whether a stage that falls ill is seen, set back, changed, and ends healthy: one command, one table.

    python benchmarks/healing.py RUN [--case NAME...] [--no-heal] [--keep FOLDER]

RUN is a finished run; nothing in it is changed. Each case is `terrarium train` on a copy of it in which one
stage is missing, and is broken while it is trained anew. "Lost" are steps that were taken back, "tried" those
that went into trials; "ends at" is the mean loss of the last fifth of the steps, beside the run's own. Exits
with 1 where a case that is ill did not end healthy (with --no-heal: did not stop with the report), or lost a
tenth of its steps. With --keep the copies stay, and the same command goes on where it was stopped (Ctrl-C).
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import click
from click.testing import CliRunner
from rich import box
from rich.console import Console
from rich.table import Table

from broken_stages import Break, bad_batch, broken_weights, dead_encoder, nothing
from terrarium import pipeline
from terrarium.cli import main as terrarium
from terrarium.config import Config, override
from terrarium.doctor.examine import examine
from terrarium.doctor.readers.run_folder import read_training
from terrarium.errors import TerrariumError
from terrarium.evaluate import open_footage
from terrarium.healing.decisions import cures_tried
from terrarium.models.build import run_config, trained_checkpoint
from terrarium.run.folder import STAGES, RunFolder, StageFolder, write_json
from terrarium.run.rows import read_history
from terrarium.train.proof import Proof, note_proof
from terrarium.train.stages import Stage

AT = 0.45  # of the steps: where something is broken in the midst of training
MOST_LOST = 0.1  # of the steps


@dataclass(frozen=True)
class Case:
    """Something that is broken.

    Attributes:
        name: of the case.
        stage: in which.
        times: the learning rate is multiplied by it.
        broken: breaks the stage.
        ill: whether it must be seen.
    """

    name: str
    stage: str
    times: float = 1.0
    broken: Break = nothing
    ill: bool = True


CASES = (
    Case("healthy", "dynamics", ill=False),
    Case("rate x 20", "dynamics", 20, ill=False),  # measured to be no illness of this model
    Case("rate x 500", "dynamics", 500),
    Case("batch that is not finite", "video_tokenizer", broken=bad_batch),
    Case("spike that stays", "dynamics", broken=broken_weights),
    Case("actions collapse", "latent_actions", broken=dead_encoder),
)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--case", "names", multiple=True, help="One of the cases; all by default.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@click.option("--no-heal", is_flag=True, help="Treat nothing: what is ill must stop.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where to work, and to go on.")
def main(
    run: Path, names: tuple[str, ...], assignments: tuple[str, ...], no_heal: bool, keep: Path | None
) -> None:
    """Break stages, and print what became of them."""
    columns = "case", "seen", "onset", "code", "cause", "cure", "lost", "tried", "ends at", "verdict", "exit"
    table, well = Table(*columns, box=box.MARKDOWN), True
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for case in CASES:
                if not names or case.name in names:
                    folder = (keep or Path(scratch)) / case.name.replace(" ", "-")
                    outcome = try_case(RunFolder.open(run), case, folder, assignments, no_heal)
                    well = well and outcome.is_well(case, no_heal)
                    table.add_row(case.name, *outcome.cells())
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    Console(width=200, highlight=False).print(table)
    sys.exit(0 if well else 1)


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        decisions: all but those to go on.
        lost: steps that were taken back.
        steps: of the stage.
        rows: steps in its history.
        ends_at: mean loss of the last fifth of the steps.
        healthy: the same of the run that was copied.
        verdict: of the doctor about the stage.
        reported: whether the report was written.
        exit_code: of `terrarium train`.
    """

    decisions: list[dict[str, Any]]
    lost: int
    steps: int
    rows: int
    ends_at: float
    healthy: float
    verdict: str
    reported: bool
    exit_code: int

    def is_well(self, case: Case, no_heal: bool) -> bool:
        """Whether it came out as it should."""
        if no_heal and case.ill:
            return self.exit_code != 0 and self.reported
        ended = self.exit_code == 0 and self.rows == self.steps and self.verdict == "normal"
        return ended and self.lost < MOST_LOST * self.steps

    def cells(self) -> list[str]:
        """Of the table."""
        keys = ("step", "onset", "code", "cause", "what")
        told = [", ".join(_cell(row.get(key)) for row in self.decisions) or "-" for key in keys]
        tried = sum(row.get("numbers", {}).get("steps tried") or 0 for row in self.decisions)
        lost = f"{self.lost} of {self.steps} ({100 * self.lost / self.steps:.1f} %)"
        ending = f"{self.ends_at:.3g} ({self.healthy:.3g})"
        report = "report" if self.reported else "no report"
        return [*told, lost, f"{tried:.0f}", ending, self.verdict, f"{self.exit_code}, {report}"]


def _cell(value: object) -> str:
    return "-" if value in (None, "") else str(value)


def try_case(
    original: RunFolder, case: Case, path: Path, assignments: tuple[str, ...], no_heal: bool
) -> Outcome:
    """Train the broken stage in a copy of the run, by the command that users give."""
    config = changed(run_config(original), case, assignments)
    known = (path / "run.json").exists()
    run = RunFolder.open(path) if known else copy_without(original, case.stage, config, path)
    words = ["train", "--run", str(path), *(["--no-heal"] if no_heal else [])]
    with breaking(case):
        ended = CliRunner().invoke(terrarium, words)
    click.echo(f"{case.name}: {ended.output.strip().splitlines()[-1][:300]}", err=True)
    return outcome_of(run, original.stage(case.stage), config, ended.exit_code)


@contextmanager
def breaking(case: Case) -> Iterator[None]:
    """While open, the stage of a case is broken where it is built."""
    build = pipeline.build_stage

    def build_broken(run: RunFolder, name: str, *rest: Any) -> tuple[Stage, list[Path]]:
        stage, parents = build(run, name, *rest)
        at = round(AT * stage.config.steps)
        if name != case.stage:
            return stage, parents
        return case.broken(stage, at, still_to_go(run.stage(name), at)), parents

    with patch.object(pipeline, "build_stage", build_broken):
        yield


def still_to_go(folder: StageFolder, at: int) -> int:
    """Steps until something is to be broken; none where that was done before this process began."""
    done = len(read_history(folder.history_path).rows) if folder.history_path.exists() else 0
    return 0 if cures_tried(folder) else at - done


def copy_without(original: RunFolder, stage: str, config: Config, path: Path) -> RunFolder:
    """The run without a stage and what was made of it; the others count as they are."""
    ignore = shutil.ignore_patterns(stage, "report.*", "scores.json", ".lock", "footage")
    shutil.copytree(original.path, path, ignore=ignore)
    facts = copy.deepcopy(original.facts) | {"data": str(open_footage(original).path.resolve())}
    write_json(path / "run.json", facts | {"config": config.model_dump(mode="json")})
    run = RunFolder.open(path)
    for name in STAGES:
        if name != stage:
            proof = Proof(trained_checkpoint(run.stage(name)), 4, None, "not asked: another stage is tried")
            note_proof(proof, run.stage(name))
    return run


def changed(config: Config, case: Case, assignments: tuple[str, ...]) -> Config:
    """The configuration with the case's learning rate; the world as a whole is not judged."""
    rate = min(1.0, getattr(config, case.stage).learning_rate * case.times)
    return override(config, [*assignments, f"{case.stage}.learning_rate={rate}", "gates.play=false"])


def outcome_of(run: RunFolder, healthy: StageFolder, config: Config, exit_code: int) -> Outcome:
    """What the stage's gates wrote down, and how it ended."""
    folder = run.stage(healthy.name)
    discarded = folder.discarded_path
    return Outcome(
        decisions_of(folder),
        discarded.read_bytes().count(b"\n") if discarded.exists() else 0,
        getattr(config, folder.name).steps,
        len(read_history(folder.history_path).rows),
        ending(folder),
        ending(healthy),
        str(examine(read_training(run.path, folder.name)).stages[folder.name]),
        (run.path / "report.json").exists(),
        exit_code,
    )


def decisions_of(folder: StageFolder) -> list[dict[str, Any]]:
    """The decisions of a stage, but for those to go on."""
    rows = [json.loads(line) for line in (folder.path / "gates.jsonl").read_bytes().splitlines()]
    return [row for row in rows if row["what"] != "continue"]


def ending(folder: StageFolder) -> float:
    """The mean loss of the last fifth of the steps."""
    losses = [row["loss"] for row in read_history(folder.history_path).rows]
    numbers = [float(loss) for loss in losses if isinstance(loss, int | float)]
    return fmean(numbers[-max(1, len(numbers) // 5) :])


if __name__ == "__main__":
    main()
