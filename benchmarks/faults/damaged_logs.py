"""Histories that are torn, repeated or corrupted: what can be read is read, and what is lost is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from run_samples import make_stage

from faults.fault import Fault, Outcome, dice_of
from patients.logs import STEP, WRITERS, rows_of
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.examine import examine
from terrarium.doctor.readers.gather import gather
from terrarium.run import disk
from terrarium.run.history import History
from terrarium.run.rows import read_history

REACH = 32 * 2**10  # bytes: at the next block of so many reading begins anew

Damage = Callable[[bytearray, random.Random], None]


def torn_history(folder: Path, seed: int) -> Outcome:
    """The last row is torn, and a resume took steps again: one line is lost, the rest stays and grows."""
    dice, stage = dice_of(seed), make_stage(folder)
    count = dice.randrange(20, 200)
    back = dice.randrange(1, count)
    steps = [*range(count), *range(back, count + dice.randrange(1, 20))]
    lines = [disk.dump_json({"step": step, "loss": 1.0 + place}) for place, step in enumerate(steps)]
    torn = disk.dump_json({"step": steps[-1] + 1, "loss": 0.5})
    stage.history_path.write_bytes(b"".join(lines) + torn[: dice.randrange(1, len(torn) - 1)])
    before = read_history(stage.history_path)
    with History(stage) as history:
        history.append({"step": steps[-1] + 1, "loss": 2.0})
    after = read_history(stage.history_path)
    losses = {row["step"]: row["loss"] for row in after.rows}
    latest = all(losses[step] == 1.0 + count + step - back for step in range(back, steps[-1] + 1))
    whole = [row["step"] for row in after.rows] == list(range(steps[-1] + 2))
    return Outcome(before.skipped == 1, latest and whole and after.skipped == 0)


def corrupted(kind: str, damage: Damage) -> Callable[[Path, int], Outcome]:
    """The log of a logger is damaged: told, and no more is lost than the blocks that were hit."""

    def inject(folder: Path, seed: int) -> Outcome:
        dice, (name, write) = dice_of(seed), WRITERS[kind]
        rows = rows_of(dice.randrange(1000, 4000), seed=seed)
        write(folder / name, rows)
        content = bytearray((folder / name).read_bytes())
        whole = bytes(content)
        damage(content, dice)
        (folder / name).write_bytes(content)
        diagnosis = examine(gather([folder]))
        (stage,) = diagnosis.evidence.stages.values()
        told = next((each for each in diagnosis.findings if each.code == "rows-damaged"), None)
        lost = len(rows) - _true_rows(stage, rows)
        allowed = _rows_within(whole, bytes(content), len(rows))
        number = told.values["damaged"] if told else 0
        said = f"{lost} of {len(rows)} rows lost, {allowed:.0f} were hit; told: {number}"
        return Outcome(told is not None, 0 <= lost <= allowed, detail=said)

    return inject


def _true_rows(stage: StageEvidence, rows: list[dict[str, float]]) -> int:
    """How many rows were read as they were written; one that was read otherwise makes it negative."""
    steps, losses = stage.series("loss")
    written = {int(row[STEP]): row["train/loss"] for row in rows}
    same = [np.isclose(written[int(step)], loss) for step, loss in zip(steps, losses, strict=True)]
    return len(same) if all(same) and len(set(steps)) == len(same) else -len(rows)


def _rows_within(whole: bytes, damaged: bytes, rows: int) -> float:
    """Rows in the blocks that were touched, or lie beyond the end."""
    size = min(len(whole), len(damaged))
    one, other = (np.frombuffer(content[:size], np.uint8) for content in (whole, damaged))
    touched = len(set((np.flatnonzero(one != other) // REACH).tolist()))
    return 2 + (len(whole) - size + touched * REACH) * rows / len(whole)


def cut(content: bytearray, dice: random.Random) -> None:
    """The end is gone, in the midst of a record."""
    del content[dice.randrange(len(content) // 4, len(content) - 1) :]


def flip(content: bytearray, dice: random.Random) -> None:
    """Some bytes somewhere are others."""
    for _ in range(dice.randint(1, 5)):
        content[dice.randrange(100, len(content))] ^= dice.randrange(1, 256)


def blot(content: bytearray, dice: random.Random) -> None:
    """A stretch of 4 KiB reads as zeros."""
    begin = dice.randrange(100, len(content) - 4096)
    content[begin : begin + 4096] = bytes(4096)


FAULTS = (
    Fault(46, "history torn and repeated", torn_history, quick=True),
    *(
        Fault(47, f"{name} {words}", corrupted(kind, damage), quick=True)
        for kind, name in (("wandb", "W&B log"), ("tensorboard", "TensorBoard log"))
        for words, damage in (("cut", cut), ("with bytes flipped", flip), ("with a blot of zeros", blot))
    ),
)
