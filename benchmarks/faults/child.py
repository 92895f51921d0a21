"""A `terrarium` command with something wrong inside: `child.py SPOIL[,SPOIL] train --run ...`.

It trains the tokenizer alone, since no fault here needs more. A spoil is a name of `SPOILS` and a number,
such as `hang:12`; "" spoils nothing.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from faults.child_ranks import SPOILS as OF_RANKS
from terrarium import pipeline
from terrarium.cli import main
from terrarium.data.loader import ALL, ClipSampler, Rows
from terrarium.run.rows import Row
from terrarium.train import loop, saver
from terrarium.train.step import train_step

HOURS = 3600.0


def hang(step: float) -> None:
    """Reading the batch of a step never comes to an end."""
    read = ClipSampler.batch

    def hanging(self: ClipSampler, number: int, rows: Rows = ALL) -> Any:
        if number == step:
            time.sleep(HOURS)
        return read(self, number, rows)

    _set(ClipSampler, "batch", hanging)


def block(step: float) -> None:
    """A step never comes to an end, while another thread says that all is well."""

    def blocked(state: Any) -> None:
        if state.step == step:
            time.sleep(HOURS)

    def beat() -> None:
        while True:
            print("alive", flush=True)
            time.sleep(0.05)

    threading.Thread(target=beat, daemon=True).start()
    _before_steps(blocked)


def slow_steps(seconds: float) -> None:
    """Every step takes longer."""
    _before_steps(lambda _: time.sleep(seconds))


def poison(step: float) -> None:
    """From a step on no batch is finite, whichever is taken."""
    take = train_step

    def poisoned(state: Any, stage: Any, inputs: Any, *rest: Any) -> Row:
        ill = tuple(torch.full_like(each, float("nan")) for each in inputs)
        return take(state, stage, ill if state.step >= step else inputs, *rest)

    _set(loop, "train_step", poisoned)


def slow_disk(seconds: float) -> None:
    """The disk takes its time for every file."""
    sync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds if threading.current_thread().name.startswith("checkpoint") else 0)
        sync(descriptor)

    _set(os, "fsync", slow)


def full_disk(saves: float) -> None:
    """The disk is full for so many saves, as the system says it in the midst of a file."""
    commit, sync, failed = vars(saver)["commit_checkpoint"], os.fsync, [0]

    def failing(descriptor: int) -> None:
        if threading.current_thread().name.startswith("checkpoint") and failed[0] <= saves:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    def counted(*args: Any, **kwargs: Any) -> Any:
        failed[0] += 1
        return commit(*args, **kwargs)

    _set(os, "fsync", failing)
    _set(saver, "commit_checkpoint", counted)


def writer_dies(number: float) -> None:
    """The thread that writes checkpoints dies in the midst of this save."""
    commit, saves = vars(saver)["commit_checkpoint"], [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        saves[0] += 1
        if saves[0] == number:
            raise MemoryError("the writer died")
        return commit(*args, **kwargs)

    _set(saver, "commit_checkpoint", dying)


def exit_after_save(number: float) -> None:
    """The program is left right after a save was begun."""
    save, saves = saver.Saver.save, [0]

    def leaving(self: saver.Saver, take: Any) -> None:
        save(self, take)
        saves[0] += 1
        if saves[0] == number:
            sys.exit(3)

    _set(saver.Saver, "save", leaving)


def leak(mebibytes: float) -> None:
    """Something is kept in every step."""
    kept: list[torch.Tensor] = []
    _before_steps(lambda _: kept.append(torch.ones(int(mebibytes * 2**18))))


def room(mebibytes: float) -> None:
    """So much memory is left at the first step, and not a byte more."""

    def limit(state: Any) -> None:
        if state.step == 0:
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limits = (size + int(mebibytes * 2**20), resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_AS, limits)

    _before_steps(limit)


SPOILS: dict[str, Callable[[float], None]] = {
    "hang": hang,
    "block": block,
    "slow-steps": slow_steps,
    "poison": poison,
    "slow-disk": slow_disk,
    "full-disk": full_disk,
    "writer-dies": writer_dies,
    "exit-after-save": exit_after_save,
    "leak": leak,
    "room": room,
    **OF_RANKS,
}


def _before_steps(does: Callable[[Any], None]) -> None:
    take = vars(loop)["train_step"]  # may be spoilt already: several faults come together

    def taken(state: Any, *rest: Any) -> Row:
        does(state)
        row: Row = take(state, *rest)
        return row

    _set(loop, "train_step", taken)


def _set(place: Any, name: str, value: Any) -> None:
    setattr(place, name, value)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a shell ignores it
    _set(pipeline, "STAGES", ("video_tokenizer",))
    for spoil in filter(None, sys.argv[1].split(",")):
        spoiled, _, number = spoil.partition(":")
        SPOILS[spoiled](float(number or 0))
    main(sys.argv[2:])
