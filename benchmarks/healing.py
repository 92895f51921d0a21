"""Whether a stage that falls ill is seen, set back, changed, and ends healthy: one command, one table.

    python benchmarks/healing.py RUN [--case NAME...]

RUN is a finished run; nothing in it is changed. Its stages are trained anew in a temporary folder, on its
footage and its other stages, each with something broken and with the gates of `terrarium train`. "Lost" are
steps that were taken back; "ends at" is the mean loss of the last fifth of the steps, beside the run's own.
"""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from terrarium.config import Config, override
from terrarium.doctor.examine import examine
from terrarium.doctor.readers.run_folder import read_training
from terrarium.errors import TerrariumError
from terrarium.evaluate import open_footage
from terrarium.healing import DoctorGate
from terrarium.healing.decisions import cures_tried
from terrarium.models.build import run_config
from terrarium.models.device import choose_device
from terrarium.pipeline import build_stage
from terrarium.progress import ConsoleProgress
from terrarium.run.folder import RunFolder, StageFolder, write_json
from terrarium.run.history import read_history
from terrarium.train.loop import train_stage
from terrarium.train.stages import Stage

AT = 0.45  # of the steps: where something is broken in the midst of training
Break = Callable[[Stage, int], Stage]


def nothing(stage: Stage, _at: int) -> Stage:
    """A healthy stage, for comparison."""
    return stage


def bad_batch(stage: Stage, at: int) -> Stage:
    """The inputs of one batch are not finite, whenever it is drawn."""
    ill = stage.batches.batch(at)

    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        inputs = stage.to_inputs(drawn)
        same = all((a == b).all() for a, b in zip(vars(drawn).values(), vars(ill).values(), strict=True))
        return tuple(part * float("nan") if same and part.is_floating_point() else part for part in inputs)

    return replace(stage, to_inputs=to_inputs)


def broken_weights(stage: Stage, at: int) -> Stage:
    """Once, half of the live weights are overwritten by noise: a spike that stays."""
    calls = {"left": at}

    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        calls["left"] -= 1
        if calls["left"] == 0:
            spoil(stage.model, every=2)
        return stage.to_inputs(drawn)

    return replace(stage, to_inputs=to_inputs)


@torch.no_grad()
def spoil(model: torch.nn.Module, every: int) -> None:
    """Overwrite every so manyth weight matrix by noise five times as large."""
    generator = torch.Generator().manual_seed(0)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    for parameter in matrices[::every]:
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        parameter.copy_(noise * 5 * parameter.std())


def dead_encoder(stage: Stage, at: int) -> Stage:
    """Once, the encoder's last weights become zero: every change gets the same code."""
    calls = {"left": at}

    @torch.no_grad()
    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        calls["left"] -= 1
        if calls["left"] == 0:
            for name, parameter in stage.model.named_parameters():
                if name.startswith("encoder"):
                    parameter.zero_()
        return stage.to_inputs(drawn)

    return replace(stage, to_inputs=to_inputs)


@dataclass(frozen=True)
class Case:
    """Something that is broken.

    Attributes:
        name: of the case.
        stage: in which.
        settings: of the configuration, "{rate}" being the run's own rate times `times`.
        times: the learning rate is multiplied by it.
        broken: breaks the stage.
    """

    name: str
    stage: str
    times: float = 1.0
    broken: Break = nothing


CASES = (
    Case("healthy", "dynamics"),
    Case("rate x 20", "dynamics", 20),
    Case("rate x 500", "dynamics", 500),
    Case("batch that is not finite", "video_tokenizer", broken=bad_batch),
    Case("spike that stays", "dynamics", broken=broken_weights),
    Case("actions collapse", "latent_actions", broken=dead_encoder),
)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--case", "names", multiple=True, help="One of the cases; all by default.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
def main(run: Path, names: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Break stages, and print what became of them."""
    table = Table(
        "case", "seen", "onset", "code", "cause", "cure", "lost", "ends at", "verdict", box=box.MARKDOWN
    )
    try:
        for case in CASES:
            if not names or case.name in names:
                table.add_row(case.name, *try_case(RunFolder.open(run), case, assignments))
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    Console(width=170, highlight=False).print(table)


def try_case(original: RunFolder, case: Case, assignments: tuple[str, ...]) -> list[str]:
    """Train the broken stage in a copy of the run; the cells of its row."""
    with tempfile.TemporaryDirectory() as scratch, ConsoleProgress() as progress:
        run = copy_without(original, case.stage, Path(scratch) / "run")
        config = changed(run_config(original), case, assignments)
        dataset, device = open_footage(run), choose_device(config.device)
        stage, _ = build_stage(run, case.stage, config, dataset, device, progress)
        folder = run.stage(case.stage).create()
        write_plan(folder, stage)
        broken = case.broken(stage, round(AT * stage.config.steps))
        gate = DoctorGate(broken, folder, config, heal=True, say=progress.say)
        try:
            train_stage(broken, folder, config, progress, gate)
        except TerrariumError as error:
            progress.say(f"stopped: {error}")
        return cells(folder, original.stage(case.stage))


def copy_without(original: RunFolder, stage: str, path: Path) -> RunFolder:
    """The run without a stage and what was made of it."""
    ignore = shutil.ignore_patterns(stage, "report.*", "scores.json", ".lock", "footage")
    shutil.copytree(original.path, path, ignore=ignore)
    facts = copy.deepcopy(original.facts) | {"data": str(open_footage(original).path.resolve())}
    write_json(path / "run.json", facts)
    return RunFolder.open(path)


def changed(config: Config, case: Case, assignments: tuple[str, ...]) -> Config:
    """The configuration with the case's learning rate."""
    rate = min(1.0, getattr(config, case.stage).learning_rate * case.times)
    return override(config, [*assignments, f"{case.stage}.learning_rate={rate}"])


def write_plan(folder: StageFolder, stage: Stage) -> None:
    """What the doctor must know of the stage, as `terrarium train` writes it."""
    plan = {"steps": stage.config.steps, "config": stage.config.model_dump(mode="json")}
    write_json(folder.config_path, plan | {"chance_level": stage.chance_level, "loss_unit": stage.loss_unit})


def cells(folder: StageFolder, healthy: StageFolder) -> list[str]:
    """What the gates wrote down, and how it ended."""
    tried = cures_tried(folder)
    discarded = folder.discarded_path
    lost = discarded.read_bytes().count(b"\n") if discarded.exists() else 0
    verdict = examine(read_training(folder.path.parent, folder.name)).stages[folder.name]
    told = [
        ", ".join(str(row[key]) for row in tried) or "-" for key in ("step", "onset", "code", "cause", "what")
    ]
    rows = len(read_history(folder.history_path).rows)
    return [
        *told,
        f"{lost} of {rows} ({100 * lost / max(rows, 1):.1f} %)",
        f"{ending(folder):.3g} ({ending(healthy):.3g})",
        str(verdict),
    ]


def ending(folder: StageFolder) -> float:
    """The mean loss of the last fifth of the steps."""
    losses = [row["loss"] for row in read_history(folder.history_path).rows]
    numbers = [float(loss) for loss in losses if isinstance(loss, int | float)]
    return fmean(numbers[-max(1, len(numbers) // 5) :])


if __name__ == "__main__":
    sys.exit(main())
