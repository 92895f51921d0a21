"""Runs that are resumed with something else than they were begun with: refused by name, and left alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from faults.fault import Fault, Outcome, dice_of
from faults.lives import STEPS, undisturbed
from faults.processes import STAGE, stage_of
from faults.training import ward
from terrarium import pipeline
from terrarium.cli import main
from terrarium.errors import CheckpointError
from terrarium.run.survey import list_checkpoints
from tiny_world import store_footage

CHANGES = (
    (f"{STAGE}.width", 8, 16),
    (f"{STAGE}.decoder_width", 8, 24),
    ("latent_actions.bits", 2, 3),
    ("dynamics.width", 16, 32),
    (f"{STAGE}.batch_size", 2, 4),
)


def content(path: Path) -> dict[str, str]:
    """What lies in a run, but for its lock: name -> hash."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kept_of(stage: Path) -> dict[str, str]:
    """What a refused resume must not touch in a stage: its history and its checkpoints."""
    return {
        name: hashed
        for name, hashed in content(stage).items()
        if name.startswith(("checkpoints/", "history.jsonl"))
    }


def resumed(run: Path, *words: str) -> tuple[int, str]:
    """Exit code, and what `terrarium train` says to it."""
    with mock.patch.object(pipeline, "STAGES", (STAGE,)):
        result = CliRunner().invoke(main, ["train", "--no-smoke", "--run", str(run), *words])
    return result.exit_code, result.output


def copied(folder: Path, seed: int) -> Path:
    """A run that can be spoilt."""
    return Path(shutil.copytree(undisturbed(seed), folder / "run", symlinks=True))


def another(change: Callable[[int], tuple[str, object, object]]) -> Callable[[Path, int], Outcome]:
    """Resumed with another setting: the difference is shown, and nothing in the run is touched."""

    def inject(folder: Path, seed: int) -> Outcome:
        run, (key, was, now) = copied(folder, seed), change(seed)
        before = kept_of(run / STAGE)
        code, said = resumed(run, "--set", f"{key}={now}")
        told = f"{key} was {was}, now {now}" in said.replace("\n", " ")
        newest = list_checkpoints(stage_of(run))[-1]
        return Outcome(
            code == 1 and told,
            kept_of(run / STAGE) == before and newest.name.endswith(f"_{STEPS}"),
            detail=said[-300:],
        )

    return inject


def other_footage(folder: Path, seed: int) -> Outcome:
    """The footage at its place is another: refused, for the batches of the steps to come would be others."""
    run, place = copied(folder, seed), folder / "footage"
    store_footage(place, (32, 32), episodes=8 + dice_of(seed).randint(1, 5))
    facts = (run / "run.json").read_text()
    (run / "run.json").write_text(facts.replace(str(json.loads(facts)["data"]), str(place)))
    before = kept_of(run / STAGE)
    code, said = resumed(run)
    return Outcome(code == 1 and "footage" in said, kept_of(run / STAGE) == before, detail=said[-300:])


def model_of_another_shape(folder: Path, seed: int) -> Outcome:
    """The configuration itself was changed, so that the checkpoint does not fit: shown tensor by tensor."""
    ill = ward(folder / "a", seed, "steps=20")
    ill.train()
    setting = dice_of(seed).choice(["width=16", "decoder_width=16", "levels=[8,5,5]"])
    other = ward(folder / "b", seed, "steps=40", setting)
    other.folder, before = ill.folder, kept_of(ill.folder.path)
    try:
        other.train()
    except CheckpointError as error:
        shown = " there and " in str(error) and "another shape" in str(error)
        return Outcome(shown, kept_of(ill.folder.path) == before, detail=str(error))
    return Outcome(False, False)


FAULTS = (
    Fault(20, "resumed with another setting", another(lambda seed: CHANGES[seed % len(CHANGES)])),
    Fault(20, "resumed with a model of another shape", model_of_another_shape),
    Fault(23, "resumed with another seed", another(lambda seed: ("seed", seed, seed + 1))),
    Fault(24, "resumed on other footage", other_footage),
)
