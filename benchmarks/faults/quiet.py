"""Faults of training that its loss does not show."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from torch import nn

from faults.fault import Fault, Outcome, dice_of
from faults.lives import footage, saved_steps
from faults.processes import STAGE, finish, rows, training
from faults.training import ward
from terrarium.doctor.examine import examine
from terrarium.doctor.readers.run_folder import read_run
from terrarium.errors import CheckpointError, TrainingError
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train import state
from terrarium.train.pictures import Picture
from terrarium.train.probe import probe_loss
from terrarium.train.proof import prove_probe

LEAK_STEPS = 400


def frozen(folder: Path, seed: int) -> Outcome:
    """Some parameters are not trained, in one of two ways: the first gate names them."""
    dice, ill = dice_of(seed), ward(folder, seed, "steps=40")
    names = sorted(name for name, _ in ill.stage.model.named_parameters())
    chosen = sorted(dice.sample(names, dice.randint(1, len(names) // 2)))
    with (switched_off, left_out)[seed % 2](ill.stage.model, chosen):
        try:
            ill.train()
        except CheckpointError as refusal:  # an optimizer that lacks parameters can't be saved
            ill.told.say(str(refusal))
    noted = json.loads((ill.folder.path / "parameters.json").read_text())
    diagnosis = examine(read_run(ill.folder.path.parent, ill.folder.name))
    told = [each for each in diagnosis.findings if each.code == "parameters-frozen"]
    said = "\n".join(ill.told.lines)
    seen = (
        bool(told)
        and "are what they were before the first step" in said
        and set(chosen) <= set(noted["unmoved"])
    )
    first = min((row["step"] for row in ill.decisions() if row["verdict"] != "normal"), default=None)
    return Outcome(seen, delay=first, detail=f"{chosen} {noted} {said[-300:]}")


@contextmanager
def switched_off(model: nn.Module, names: list[str]) -> Iterator[None]:
    """Their gradients were switched off, and not on again."""
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    yield


@contextmanager
def left_out(model: nn.Module, names: list[str]) -> Iterator[None]:
    """The optimizer was made without them."""
    make, without = vars(state)["make_optimizer"], {model.get_parameter(name) for name in names}

    def forgetful(*args: Any) -> Any:
        optimizer = make(*args)
        for group in optimizer.param_groups:
            group["params"] = [each for each in group["params"] if each not in without]
        return optimizer

    with mock.patch.object(state, "make_optimizer", forgetful):
        yield


def leak(folder: Path, seed: int) -> Outcome:
    """Something is kept in every step, until the system refuses: told before, and the checkpoints stay."""
    dice, run = dice_of(seed), folder / "run"
    room = dice.uniform(700, 1000)
    pace = room / dice.uniform(150, LEAK_STEPS * 3 / 4)
    settings = (f"steps={LEAK_STEPS}", "checkpoint_every=20", "gate_every=20", "picture_every=1000")
    words = training(run, footage(), seed, *settings, spoil=f"room:{room},leak:{pace}")
    ended = finish(words)
    gates = [json.loads(line) for line in (run / STAGE / "gates.jsonl").read_text().splitlines()]
    first = min((gate["step"] for gate in gates if gate["verdict"] == "watch"), default=None)
    diagnosis = examine(read_run(run, STAGE))
    told = any(each.code == "memory-growing" for each in diagnosis.findings)
    reached, saved = rows(run), max(saved_steps(run), default=0)
    died = ended.code != 0 and reached < LEAK_STEPS
    return Outcome(
        died and told and first is not None and first < reached,
        reached - saved <= 20,
        delay=first,
        lost_steps=reached - saved,
        detail=f"exit {ended.code} after {reached} steps; {[each.code for each in diagnosis.findings]}",
    )


def left_in_training_mode(folder: Path, seed: int) -> Outcome:
    """Drawing a picture leaves the averaged model in training mode: refused before it is scored or saved."""
    at = dice_of(seed).randrange(21, 59)
    ill = ward(folder, seed, "steps=80", f"picture_every={at}")
    draw = ill.stage.draw

    def careless(model: nn.Module) -> Picture:
        model.train()
        return draw(model)

    ill.stage = dataclasses.replace(ill.stage, draw=careless)
    try:
        ill.train()
    except TrainingError as error:
        words = str(error)
    else:
        return Outcome(False, False)
    newest = list_checkpoints(ill.folder)[-1]
    kept = judge(newest).whole and newest.name.endswith(f"_{at // 20 * 20}")
    return Outcome(
        "left in training mode" in words, kept, delay=rows(ill.folder.path.parent) - at, detail=words
    )


def average_not_used(folder: Path, seed: int) -> Outcome:
    """What is scored at saving are the live weights, not the average: the stage is not called done."""
    ill = ward(folder, seed, f"steps={20 * dice_of(seed).randint(1, 3)}")
    take = state.TrainState.snapshot

    def careless(self: state.TrainState, notes: Mapping[str, object] = MappingProxyType({})) -> Any:
        live = copy.deepcopy(self.model).eval()
        return take(self, {**notes, "probe_loss": probe_loss(live, ill.stage, ill.config)})

    with mock.patch.object(state.TrainState, "snapshot", careless):
        ill.train()
    proof = prove_probe(ill.stage, ill.folder, ill.config, list_checkpoints(ill.folder)[-1])
    return Outcome(proof.holds is False, detail=proof.reason)


FAULTS = (
    Fault(32, "frozen parameters", frozen),
    Fault(42, "memory leaks", leak),
    Fault(49, "average left in training mode", left_in_training_mode),
    Fault(49, "average not used", average_not_used),
)
