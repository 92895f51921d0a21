"""Trainings in processes of their own: whole `terrarium` commands, spoilt from within where a fault asks.

    footage = store(folder)
    words = training(folder / "run", footage, seed, "steps=30", spoil="hang:12")
    ended = finish(words)                   # or: with started(words) as process: ...

A row with several processes puts a launcher before the words and waits for it in the same way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from terrarium.run.folder import RunFolder, StageFolder

CHILD = Path(__file__).with_name("child.py")
PATIENCE = 90.0  # seconds that anything here may take
STAGE = "video_tokenizer"  # the only one that a spoilt training has: a fault needs no more


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
        code: exit code; negative where a signal ended it.
        said: on stdout and stderr.
        seconds: that it took.
    """

    code: int
    said: str
    seconds: float


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds what this one finds, on one thread."""
    paths = [path for path in sys.path if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | more


def training(run: Path, footage: Path, seed: int, *settings: str, spoil: str = "") -> list[str]:
    """The words that train a tiny tokenizer, with gates, and that resume it when they are given again.

    Args:
        run: its folder.
        footage: to train on.
        seed: of the run.
        settings: of the stage, such as "steps=40".
        spoil: what goes wrong within, a name of `child.SPOILS` and its argument, such as "hang:12".
    """
    from tiny_world import as_options

    options = as_options(f"seed={seed}", *(f"{STAGE}.{each}" for each in settings))
    words = ["train", "--run", str(run), "--data", str(footage), "--preset", "quick", "--no-smoke", *options]
    return [sys.executable, str(CHILD), spoil, *words]


def finish(words: Sequence[str], env: Mapping[str, str] | None = None) -> Ended:
    """Let it run to its end."""
    began = time.monotonic()
    ended = subprocess.run(
        words,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, time.monotonic() - began)


@contextmanager
def started(words: Sequence[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It runs, and what it says goes to a file; it is killed at the end, if it still lives."""
    with said.open("wb") as file:
        process = subprocess.Popen(words, env=environment(), stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Whether something happens while a process lives, in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if happened():
            return True
        if process.poll() is not None:
            return happened()
        time.sleep(0.01)
    return False


def stage_of(run: Path) -> StageFolder:
    """The stage of a run that `training` began."""
    return RunFolder.open(run).stage(STAGE)


def rows(run: Path) -> int:
    """Steps in its history so far."""
    history = run / STAGE / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0
