"""Saves that go wrong: states that must be refused, and savers that die in the midst."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from faults.fault import Fault, Outcome, dice_of
from faults.states import FILES, commit, files_of, holds, make_stage, state_of, weights
from terrarium.errors import RefusedStateError
from terrarium.run.checkpoint import commit_checkpoint, recover
from terrarium.run.survey import newest_valid

Spoil = Callable[[dict[str, bytes], random.Random], tuple[dict[str, bytes], str]]


def refused(spoil: Spoil) -> Callable[[Path, int], Outcome]:
    """A state that must not be saved is put aside, in words that fit, and the one before it stays."""

    def inject(folder: Path, seed: int) -> Outcome:
        dice, stage = dice_of(seed), make_stage(folder)
        step = dice.randrange(1, 10**6)
        old = commit(stage, step)
        ill, word = spoil(files_of(weights(step + 1)), dice)
        try:
            commit_checkpoint(stage, step + 1, ill, state=state_of(weights(step + 1)), keep=1)
        except RefusedStateError as refusal:
            seen, detail = word in str(refusal), str(refusal)
        else:
            return Outcome(False, False, lost_steps=1)
        newest, passed_over = newest_valid(stage)
        latest = (stage.checkpoints_path / "latest").read_text().strip()
        kept = newest == old and latest == old.name and holds(old, step) and not passed_over
        return Outcome(seen and _is_aside(stage.checkpoints_path, ill), kept, detail=detail)

    return inject


def _is_aside(checkpoints: Path, files: dict[str, bytes]) -> bool:
    """Whether what was refused lies in quarantine, byte for byte, and nowhere else."""
    aside = list(checkpoints.glob(".refused-*"))
    return len(aside) == 1 and all((aside[0] / name).read_bytes() == blob for name, blob in files.items())


def empty_state(files: dict[str, bytes], dice: random.Random) -> tuple[dict[str, bytes], str]:
    """Every file holds an empty state, as where another rank had nothing; or just one of them does."""
    names = FILES if dice.random() < 0.5 else (dice.choice(FILES),)
    return files | dict.fromkeys(names, save({})), "empty" if FILES[0] in names else names[0]


def not_finite(files: dict[str, bytes], dice: random.Random) -> tuple[dict[str, bytes], str]:
    """One number somewhere is NaN or infinite."""
    file = dice.choice(FILES)
    tensors = {name: array.copy() for name, array in load(files[file]).items()}
    name = dice.choice(sorted(tensors))
    place = dice.randrange(tensors[name].size)
    tensors[name].reshape(-1)[place] = np.float32(dice.choice([np.nan, np.inf, -np.inf]))
    return files | {file: save(tensors)}, name


def killed_while_saving(folder: Path, seed: int) -> Outcome:
    """SIGKILL at a random moment of saving."""
    dice = dice_of(seed)
    return after_death(folder, dice, lambda: time.sleep(dice.uniform(0.002, 0.2)))


def killed_before_latest(folder: Path, seed: int) -> Outcome:
    """SIGKILL between the rename and `latest`: the new one counts."""
    return after_death(folder, dice_of(seed), None)


def after_death(folder: Path, dice: random.Random, wait: Callable[[], None] | None) -> Outcome:
    """Fork a saver that dies; what it had committed must be whole, and `latest` right again.

    Args:
        folder: empty.
        dice: for what had been saved before.
        wait: until it is killed; None to have it die between the rename and `latest` of its first save.
    """
    stage = make_stage(folder)
    for step in range(1, dice.randint(1, 4) + 1):
        commit(stage, step)
    told = step + _forked_saver(stage.path, stage.run_id, step + 1, dice.randint(1, 3), wait)
    newest, passed_over = recover(stage)
    found = int(newest.name.rsplit("_", 1)[1]) if newest else 0
    latest = (stage.checkpoints_path / "latest").read_text().strip() if newest else ""
    hidden = [entry.name for entry in stage.checkpoints_path.glob(".*")]
    due = (told + 1,) if wait is None else (told, told + 1)
    kept = found in due and newest is not None and latest == newest.name and holds(newest, found)
    return Outcome(
        not passed_over and not hidden, kept, lost_steps=max(0, told - found), detail=json.dumps(hidden)
    )


def _forked_saver(path: Path, run_id: str, first: int, keep: int, wait: Callable[[], None] | None) -> int:
    """How many saves a forked saver said are done before it died."""
    from terrarium.run.folder import StageFolder

    stage, (read, write) = StageFolder(path, path.name, run_id), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.environ["TERRARIUM_FAILPOINT"] = "commit:renamed" if wait is None else ""
        for step in range(first, first + 1000):
            commit(stage, step, keep=keep)
            os.write(write, b"x")
        os._exit(0)
    os.close(write)
    if wait is not None:
        wait()
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as stream:
        return len(stream.read())


FAULTS = (
    Fault(2, "empty state", refused(empty_state), quick=True),
    Fault(3, "killed while saving", killed_while_saving, quick=True),
    Fault(4, "killed between rename and latest", killed_before_latest, quick=True),
    Fault(12, "not finite, in weights or optimizer", refused(not_finite), quick=True),
)
