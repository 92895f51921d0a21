"""Checkpoints that are damaged where they lie: told, and passed over."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from run_samples import make_run

from faults.fault import Fault, Outcome, dice_of
from faults.states import FILES, commit, holds, make_stage
from terrarium.run.checkpoint import recover
from terrarium.run.survey import judge_path, list_checkpoints, newest_valid
from terrarium.run.verify import judge

HOLE = 64 * 2**10
PARTS = (*FILES, "state.json", "manifest.json")

Damage = Callable[[Path, random.Random], None]


def damaged(damage: Damage, level: int, checkpoints: int = 1) -> Callable[[Path, int], Outcome]:
    """The newest checkpoints are damaged: each fails where it must, and the one before them is taken.

    Args:
        damage: does it to one checkpoint.
        level: the highest that a damaged one may still pass.
        checkpoints: how many of four are damaged.
    """

    def inject(folder: Path, seed: int) -> Outcome:
        dice, stage = dice_of(seed), make_stage(folder)
        steps = sorted(dice.sample(range(1, 10**6), 4))
        for step in steps:
            commit(stage, step, keep=4)
        ill = list_checkpoints(stage)[-checkpoints:]
        for path in ill:
            damage(path, dice)
        newest, passed_over = recover(stage)
        sound = steps[-1 - checkpoints]
        told = {each.path.name for each in passed_over if each.reason and each.level <= level}
        named = all(
            each.whole or each.fallback == stage.checkpoint_path(sound) for each in judge_path(stage.path)
        )
        latest = (stage.checkpoints_path / "latest").read_text().strip()
        return Outcome(
            told == {path.name for path in ill} and named,
            newest == stage.checkpoint_path(sound) and latest == newest.name and holds(newest, sound),
            detail="; ".join(f"{each.path.name} L{each.level}: {each.reason}" for each in passed_over),
        )

    return inject


def truncate(path: Path, dice: random.Random) -> None:
    """The end of a file is gone: a hundred bytes, or anything up to all but one."""
    file = path / dice.choice(PARTS)
    size = file.stat().st_size
    os.truncate(file, dice.choice([max(0, size - 100), dice.randrange(1, size)]))


def flip_bit(path: Path, dice: random.Random) -> None:
    """One bit is another, anywhere."""
    file = path / dice.choice(PARTS)
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def hole(path: Path, dice: random.Random) -> None:
    """64 KiB in the middle of a file read as zeros, as after a lost write; its size is what it was."""
    file = path / dice.choice(FILES)
    content = bytearray(file.read_bytes())
    begin = dice.randrange(4096, len(content) - HOLE - 4096)
    content[begin : begin + HOLE] = bytes(HOLE)
    file.write_bytes(content)


def empty_files(path: Path, dice: random.Random) -> None:
    """Some files, or all, have no bytes."""
    for file in dice.sample(PARTS, dice.randint(1, len(PARTS))):
        os.truncate(path / file, 0)


def missing_part(folder: Path, seed: int) -> Outcome:
    """A part of the training state is gone: noticed, and the weights are said to be whole."""
    dice, stage = dice_of(seed), make_stage(folder)
    step = dice.randrange(1, 10**6)
    path = commit(stage, step)
    weights = (path / FILES[0]).read_bytes()
    (path / dice.choice(PARTS[1:4])).unlink()
    judgement = judge(path)
    return Outcome(
        not judgement.whole and bool(judgement.reason) and newest_valid(stage)[0] is None,
        judgement.weights_whole and (path / FILES[0]).read_bytes() == weights,
        detail=judgement.reason,
    )


def earlier_run(folder: Path, seed: int) -> Outcome:
    """Higher steps of an earlier run lie in the folder: told, and not taken."""
    dice = dice_of(seed)
    stage, other = make_stage(folder / "run"), make_stage(folder / "other")
    step = dice.randrange(1, 1000)
    old = commit(stage, step)
    stale = [step + dice.randrange(1, 10**6) * (place + 1) for place in range(dice.randint(1, 3))]
    for each in stale:
        shutil.copytree(commit(other, each), stage.checkpoint_path(each))
    newest, passed_over = recover(stage)
    told = {each.step for each in passed_over if each.foreign and "run" in each.reason}
    return Outcome(told == set(stale), newest == old and holds(newest, step))


def other_stage(folder: Path, seed: int) -> Outcome:
    """The checkpoint of another stage lies in the folder, under a name that fits."""
    dice, run = dice_of(seed), make_run(folder)
    names: Sequence[str] = dice.sample(("video_tokenizer", "latent_actions", "dynamics"), 2)
    stage, other = (run.stage(name).create() for name in names)
    own, step = dice.randrange(1, 1000), dice.randrange(1000, 10**6)
    old = commit(stage, own)
    shutil.copytree(commit(other, step), stage.checkpoint_path(step))
    newest, passed_over = recover(stage)
    reasons = [each.reason for each in passed_over]
    return Outcome(len(reasons) == 1 and other.name in reasons[0], newest == old, detail="; ".join(reasons))


def untouched(folder: Path, seed: int) -> Outcome:
    """Nothing is wrong: a copy elsewhere is whole."""
    stage, step = make_stage(folder / "run"), dice_of(seed).randrange(1, 10**6)
    copied = shutil.copytree(commit(stage, step), folder / "elsewhere" / f"dynamics_step_{step}")
    return Outcome(not judge(copied).whole, holds(copied, step))


FAULTS = (
    Fault(7, "file truncated", damaged(truncate, -1), quick=True),
    Fault(8, "bit flipped", damaged(flip_bit, 0), quick=True),
    Fault(9, "hole of 64 KiB in a file", damaged(hole, 0), quick=True),
    Fault(10, "last two with files of no bytes", damaged(empty_files, -1, checkpoints=2), quick=True),
    Fault(11, "part of the training state missing", missing_part, quick=True),
    Fault(19, "steps of an earlier run", earlier_run, quick=True),
    Fault(21, "checkpoint of another stage", other_stage, quick=True),
    Fault(0, "a copied checkpoint", untouched, healthy=True, quick=True),
)
