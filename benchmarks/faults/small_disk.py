"""Disks that are full, fail, or may not be written: small ones of their own, and limits of the kernel.

Run as a program it is the saver on such a disk: `small_disk.py full|read-only FOLDER SEED` prints what became
of it as JSON.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from unittest import mock

from faults.fault import Fault, Outcome, dice_of
from faults.processes import environment
from faults.states import commit, files_of, holds, make_stage, weights
from terrarium.errors import CheckpointError
from terrarium.run.folder import StageFolder
from terrarium.run.survey import list_checkpoints, newest_valid
from terrarium.run.verify import judge

SPARE = 2**20  # what `commit_checkpoint` leaves to the file system
MOUNT = 'mount -t tmpfs -o size="$1" small "$2" && shift 2 && exec "$@"'
MOUNTING = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs small /tmp"]
CHECKPOINT = sum(map(len, files_of(weights(0)).values()))


def on_its_own_disk(what: str) -> Callable[[Path, int], Outcome]:
    """A saver on a small disk that is mounted for it alone, in a namespace of its own."""

    def inject(folder: Path, seed: int) -> Outcome:
        size = CHECKPOINT * dice_of(seed).randint(2, 5) + 2 * SPARE
        saver = [sys.executable, __file__, what, str(folder), str(seed)]
        command = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(size), str(folder), *saver]
        ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if ended.returncode:
            return Outcome(False, False, detail=ended.stderr.strip()[-300:])
        return Outcome(**json.loads(ended.stdout))

    return inject


def fill(folder: Path, dice: random.Random) -> Outcome:
    """Save until there is no room: needed and free bytes are told, and are the true ones."""
    stage, steps = make_stage(folder), list[int]()
    words, first = "", dice.randrange(1, 1000)
    for step in range(first, first + 20):
        try:
            commit(stage, step, keep=100)
        except CheckpointError as error:
            words = str(error)
            break
        steps.append(step)
    numbers = re.search(r"needs ([\d,]+) bytes, and ([\d,]+) are free", words)
    needed, free = (int(number.replace(",", "")) for number in numbers.groups()) if numbers else (0, 0)
    size = sum(file.stat().st_size for file in stage.checkpoint_path(first).iterdir())
    true = abs(needed - SPARE - size) < 4096 and free == shutil.disk_usage(folder).free < needed
    kept = len(steps) >= 2 and all(holds(stage.checkpoint_path(step), step) for step in steps)
    return Outcome(true, kept, detail=words)


def turn_read_only(folder: Path, dice: random.Random) -> Outcome:
    """The disk can't be written from some save on."""
    stage, saves = make_stage(folder), dice.randint(1, 2)
    for step in range(saves):
        commit(stage, step)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        commit(stage, saves)
    except CheckpointError as error:
        words = str(error)
    else:
        return Outcome(False, False)
    kept = all(holds(stage.checkpoint_path(step), step) for step in range(saves))
    return Outcome("Read-only file system" in words, kept, detail=words)


def _may_mount() -> bool:
    """Whether this system lets a process mount a disk for itself."""
    try:
        return subprocess.run(MOUNTING, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def no_longer_than(size: int) -> Iterator[None]:
    """No file may grow beyond this: the kernel refuses in the midst of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def failing_sync(number: int) -> Iterator[None]:
    """The fsync of this number, and all after it, raise EIO."""
    left, really = [number], os.fsync

    def sync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(descriptor)

    with mock.patch.object(os, "fsync", sync):
        yield


@contextmanager
def no_room(free: int) -> Iterator[None]:
    """The file system says that so many bytes are free."""
    usage = shutil.disk_usage("/")._replace(free=free)
    with mock.patch.object(shutil, "disk_usage", return_value=usage):
        yield


WAYS: dict[str, Callable[[random.Random], object]] = {
    "can't be saved": lambda dice: no_longer_than(dice.randrange(200, CHECKPOINT // 2)),
    "Input/output error": lambda dice: failing_sync(dice.randrange(6)),
    "are free in": lambda dice: no_room(dice.randrange(CHECKPOINT)),
}
"""Words that must be said, and what makes a save fail so."""


def fails(words: str) -> Callable[[Path, int], Outcome]:
    """One save fails in this way: said in these words, and the one before it stays."""

    def inject(folder: Path, seed: int) -> Outcome:
        dice, stage = dice_of(seed), make_stage(folder)
        step = dice.randrange(1, 10**6)
        old = commit(stage, step, keep=1)
        said = _try(stage, step + 1, words, dice)
        clean = not list(stage.checkpoints_path.glob(".staging-*"))
        return Outcome(words in said, clean and judge(old).whole and holds(old, step), detail=said)

    return inject


def fails_again_and_again(folder: Path, seed: int) -> Outcome:
    """One is kept, and saves fail in all ways by turns: it stays until one succeeds."""
    dice, stage = dice_of(seed), make_stage(folder)
    step = dice.randrange(1, 10**6)
    old = commit(stage, step, keep=1)
    ways = dice.choices(list(WAYS), k=dice.randint(2, 6))
    seen = all(words in _try(stage, step + 1 + place, words, dice) for place, words in enumerate(ways))
    kept = holds(old, step) and newest_valid(stage)[0] == old
    new = commit(stage, step + 100, keep=1)
    return Outcome(seen, kept and list_checkpoints(stage) == [new] and holds(new, step + 100))


def _try(stage: StageFolder, step: int, words: str, dice: random.Random) -> str:
    """Save on a disk that is ill; what was said, "" where the save went well."""
    try:
        with WAYS[words](dice):  # type: ignore[attr-defined]
            commit(stage, step, keep=1)
    except CheckpointError as error:
        return str(error)
    return ""


MAY_MOUNT = _may_mount()
FAULTS = (
    Fault(13, "disk full before a save", on_its_own_disk("full"), quick=MAY_MOUNT),
    Fault(13, "disk full in the midst of a file", fails("can't be saved"), quick=True),
    Fault(14, "disk fails", fails("Input/output error"), quick=True),
    Fault(14, "disk becomes read-only", on_its_own_disk("read-only"), quick=MAY_MOUNT),
    Fault(18, "one kept, saves fail again and again", fails_again_and_again, quick=True),
)

if __name__ == "__main__":
    does = {"full": fill, "read-only": turn_read_only}[sys.argv[1]]
    print(json.dumps(asdict(does(Path(sys.argv[2]), dice_of(int(sys.argv[3]))))))
