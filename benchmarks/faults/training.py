"""Faults of training itself: a tiny tokenizer is really trained, with the gates of `terrarium train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from healing_samples import OneClipOnly, Ward, poisoned

from faults.fault import Fault, Outcome, dice_of
from terrarium.errors import HealthError
from terrarium.train.adjustments import Adjustments
from terrarium.train.proof import prove_replay
from tiny_training import timeless
from tiny_world import store_footage

STEPS = 200


def ward(folder: Path, seed: int, *settings: str) -> Ward:
    """A stage on footage of its own."""
    footage = store_footage(folder / "footage", (32, 32))
    return Ward(folder / "run", footage, *settings, seed=seed)


def rate_too_high(folder: Path, seed: int) -> Outcome:
    """500 times the learning rate: seen, tried, lowered, and trained to the end."""
    ill = ward(folder, seed, f"steps={STEPS}", "learning_rate=1")
    try:
        ill.train()
    except HealthError:
        return Outcome(True, False)
    cures = ill.decisions("retune", "roll back")
    lost = ill.folder.discarded_path
    rows = lost.read_bytes().count(b"\n") if lost.exists() else 0
    cause = any(cure["cause"] == "learning-rate-too-high" for cure in cures)
    delay = cures[0]["step"] - cures[0]["onset"] if cures else None
    finished = len(timeless(ill.folder)) == STEPS
    return Outcome(bool(cures), finished, cause, delay, lost_steps=rows)


def nan_batch(folder: Path, seed: int) -> Outcome:
    """One batch is not finite: named, passed over, nothing lost."""
    ill, number = ward(folder, seed, "steps=40"), dice_of(seed).randrange(2, 39)
    ill.wrap(poisoned(ill.stage, {number}))
    ill.train()
    (cure,) = ill.decisions("roll back")
    finished = len(timeless(ill.folder)) == 40
    return Outcome("episodes" in cure["reason"], finished, delay=cure["step"] - number)


def no_room(folder: Path, seed: int) -> Outcome:
    """Out of memory: cut in two, and on."""
    ill = ward(folder, seed, "steps=6")
    ill.stage = dataclasses.replace(ill.stage, model=OneClipOnly(ill.stage.model))
    ill.train()
    halved = Adjustments.read(ill.folder).accumulation_factor(0) == 2
    return Outcome(halved, len(timeless(ill.folder)) == 6)


def well(folder: Path, seed: int) -> Outcome:
    """Nothing is wrong: no gate says or does anything, and the newest checkpoint replays bit for bit."""
    fine = ward(folder, seed, f"steps={STEPS}")
    fine.train()
    torch.set_flush_denormal(True)
    proof = prove_replay(fine.stage, fine.folder, fine.config)
    said = {row["verdict"] for row in fine.decisions()} - {"normal"}
    treated = bool(fine.decisions("retune", "roll back", "restart stage", "stop"))
    return Outcome(treated or bool(said), proof is not None and bool(proof.holds), detail=str(said))


FAULTS = (
    Fault(26, "learning rate x 500, treated", rate_too_high),
    Fault(30, "a batch that is not finite, treated", nan_batch),
    Fault(43, "out of memory, treated", no_room),
    Fault(0, "a healthy stage", well, healthy=True),
)
