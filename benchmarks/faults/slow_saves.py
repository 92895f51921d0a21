"""Savers that are slow, that die, or that the program leaves behind, in trainings of their own."""

from __future__ import annotations

import json
from pathlib import Path

from faults.fault import Fault, Outcome, dice_of
from faults.lives import LONGEST, STEPS, goes_on, is_undisturbed, saved_steps, words_of
from faults.processes import STAGE, finish, rows, started, wait_until

SYNCS = 9  # of a save, each of them slow: five files, two folders, and `latest` with its own


def slow_disk(folder: Path, seed: int) -> Outcome:
    """Each save takes a good while, though less than the steps between two saves: they go on meanwhile."""
    pause, run = dice_of(seed).uniform(0.03, 0.05), folder / "run"
    ended = finish(words_of(run, seed, spoil=f"slow-disk:{pause},slow-steps:{2 * pause}"))
    seconds = json.loads((run / STAGE / "overhead.json").read_text())["seconds"]
    # the last save has no steps to hide behind; but for it, training must not have waited
    waited, slow = seconds["saving"] - SYNCS * pause, (STEPS // 10 - 1) * SYNCS * pause
    flat = waited < slow / 2 and "slower than training" not in ended.said
    return Outcome(
        flat, ended.code == 0 and is_undisturbed(run, seed), detail=f"waited {waited:.2f} s of {slow:.2f}"
    )


def slower_than_training(folder: Path, seed: int) -> Outcome:
    """Saves take longer than the steps between them: that is told, and nothing is left out."""
    pause, run = dice_of(seed).uniform(0.15, 0.3), folder / "run"
    ended = finish(words_of(run, seed, spoil=f"slow-disk:{pause}"))
    told = ended.said.count("slower than training") == 1
    return Outcome(told, ended.code == 0 and is_undisturbed(run, seed), detail=ended.said[-300:])


def writer_dies(folder: Path, seed: int) -> Outcome:
    """The thread that writes dies in the midst of a save: seen at the next step; the one before counts."""
    number, run = dice_of(seed).randint(1, 2), folder / "run"
    ended = finish(words_of(run, seed, spoil=f"writer-dies:{number},slow-steps:0.02"))
    delay = rows(run) - 10 * number
    seen = ended.code == 1 and "its writer died" in ended.said and "Traceback" not in ended.said
    older = saved_steps(run) == [10 * each for each in range(1, number)]
    return Outcome(seen, older and goes_on(run, seed), delay=delay, detail=ended.said[-300:])


def left_before_the_flush(folder: Path, seed: int) -> Outcome:
    """The program is left right after a save was begun: it waits for it, and exits as it was told."""
    number, run = dice_of(seed).randint(1, 3), folder / "run"
    ended = finish(words_of(run, seed, spoil=f"exit-after-save:{number},slow-disk:0.1"))
    lost = 10 * number - max(saved_steps(run), default=0)
    return Outcome(
        ended.code == 3, lost == 0 and goes_on(run, seed), lost_steps=lost, detail=ended.said[-300:]
    )


def full_for_a_while(folder: Path, seed: int) -> Outcome:
    """The disk is full for a save or two: each is told, training goes on, and a later save succeeds."""
    saves, run = dice_of(seed).randint(1, 2), folder / "run"
    ended = finish(words_of(run, seed, spoil=f"full-disk:{saves}"))
    told = ended.said.count("No space left on device") == ended.said.count("Training goes on") == saves
    return Outcome(told, ended.code == 0 and is_undisturbed(run, seed), detail=ended.said[-300:])


def full_for_good(folder: Path, seed: int) -> Outcome:
    """The disk stays full: training stops with an exit code; its log, and what was saved before, stay."""
    begun, run = dice_of(seed).randrange(11, 19), folder / "run"
    with started(words_of(run, seed, spoil="slow-steps:0.03"), folder / "said") as process:
        wait_until(lambda: rows(run) >= begun, process)
        process.terminate()
        process.wait(LONGEST)
    saved = saved_steps(run)
    ended = finish(words_of(run, seed, spoil="full-disk:99"))
    told = ended.code == 1 and "No space left on device" in ended.said and "Traceback" not in ended.said
    kept = bool(saved) and saved_steps(run) == saved and rows(run) > max(saved)
    return Outcome(told, kept and goes_on(run, seed), detail=ended.said[-300:])


FAULTS = (
    Fault(13, "disk full for a while, in training", full_for_a_while),
    Fault(13, "disk full for good, in training", full_for_good),
    Fault(15, "slow disk, steps go on", slow_disk),
    Fault(15, "disk slower than training", slower_than_training),
    Fault(16, "writer dies", writer_dies),
    Fault(17, "left before the flush", left_before_the_flush),
)
