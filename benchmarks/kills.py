"""Kills and flipped bits: whether anything that was committed is ever lost. One command, one table.

    python benchmarks/kills.py [--saves 500] [--runs 30] [--bits 1000] [--seed 0]

Savers are forked and killed (SIGKILL) at random moments of saving; whole `terrarium train` runs are killed at
random moments and given the same command again, until they are done; single bits of a checkpoint are flipped.
Exits with 1 where something was lost, differed or went unnoticed. What is asked for 0 times is left out: so a
part can be had alone, and the trainings in portions (`--saves 0 --bits 0 --runs 10 --seed 1`).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "run")]

from run_samples import commit, make_stage, sample_files  # noqa: E402

from terrarium.run.checkpoint import read_files, recover  # noqa: E402
from terrarium.run.folder import STAGES, RunFolder, StageFolder  # noqa: E402
from terrarium.run.sameness import differences  # noqa: E402
from terrarium.run.survey import newest_valid  # noqa: E402
from terrarium.run.verify import judge  # noqa: E402
from tiny_world import as_options, store_footage  # noqa: E402

PATIENCE = 120.0  # seconds that a training of some steps may take
SETTINGS = (
    *(f"{name}.steps=20" for name in STAGES),
    *(f"{name}.checkpoint_every=4" for name in STAGES),
    *(f"{name}.picture_every=10" for name in STAGES),
)


@dataclass
class Count:
    """What was tried and what went wrong.

    Attributes:
        name: of the trial.
        tried: how often.
        bad: how often something was lost, differed or went unnoticed.
        detail: of the trial as a whole.
    """

    name: str
    tried: int = 0
    bad: int = 0
    detail: str = ""


@click.command()
@click.option("--saves", default=500, show_default=True)
@click.option("--runs", default=30, show_default=True)
@click.option("--bits", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(saves: int, runs: int, bits: int, seed: int) -> None:
    """Kill, flip, and count."""
    dice = random.Random(seed)  # noqa: S311 - no secret: when to kill
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = (kill_savers, saves), (kill_runs, runs), (flip_bits, bits)
        counts = [trial(folder, tries, dice) for trial, tries in parts if tries]
    table = Table("trial", "tried", "bad", "detail", box=box.MARKDOWN)
    for count in counts:
        table.add_row(count.name, str(count.tried), str(count.bad), count.detail)
    Console(width=140, highlight=False).print(table)
    sys.exit(1 if any(count.bad for count in counts) else 0)


def kill_savers(folder: Path, tries: int, dice: random.Random) -> Count:
    """Fork a saver, kill it, and look whether its last committed step is there, whole and its own."""
    stage, count, committed, hidden = make_stage(folder / "saver"), Count("savers killed while saving"), -1, 0
    for _ in range(tries):
        told = fork_and_kill(stage, committed + 1, dice)
        committed = max([committed, *told])
        hidden += len(list(stage.checkpoints_path.glob(".*")))
        newest, passed_over = newest_valid(stage)
        found = judge(newest).step if newest is not None else -1
        good = not passed_over and found in (committed, committed + 1)
        good = good and (newest is None or read_files(newest) == sample_files(int(found or 0)))
        count.tried, count.bad = count.tried + 1, count.bad + (not good)
        committed = max(committed, int(found or 0))
    count.detail = f"{committed + 1} steps committed, {hidden} half-written folders hidden and cleared"
    return count


def fork_and_kill(stage: StageFolder, first: int, dice: random.Random) -> list[int]:
    """The steps that a saver said are committed before it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        recover(stage)
        for step in range(first, first + 10_000):
            commit(stage, step, keep=2)
            os.write(write, f"{step}\n".encode())
        os._exit(0)
    os.close(write)
    time.sleep(dice.uniform(0, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read) as stream:
        return [int(line) for line in stream.read().splitlines(keepends=True) if line.endswith("\n")]


def kill_runs(folder: Path, tries: int, dice: random.Random) -> Count:
    """Kill whole trainings at random moments, resume until done, and compare with one that was left alone."""
    count, footage = Count("trainings killed and resumed"), store_footage(folder / "footage", (32, 32))
    command = [sys.executable, "-m", "terrarium", "train", "--data", str(footage.path), "--preset", "quick"]
    command += as_options(*SETTINGS)
    began = time.monotonic()
    finish([*command, "--run", str(folder / "straight")])
    length, kills = time.monotonic() - began, 0
    straight = RunFolder.open(folder / "straight")
    for number in range(tries):
        words = [*command, "--run", str(folder / f"killed-{number}")]
        while not kill_at(words, dice.uniform(0.2, 1.0) * length):
            shutil.rmtree(folder / f"killed-{number}")  # it had ended: once more, at another moment
        kills += 1
        finish(words)
        count.tried += 1
        count.bad += bool(differences(RunFolder.open(folder / f"killed-{number}"), straight))
    count.detail = f"{kills} killed at work; history, weights, optimizer compared"
    return count


def kill_at(words: list[str], seconds: float) -> bool:
    """Start, wait, kill; whether there was something left to kill."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def finish(words: list[str]) -> None:
    """Let it run to its end."""
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)


def flip_bits(folder: Path, tries: int, dice: random.Random) -> Count:
    """Flip one bit at a time anywhere in a checkpoint; L1 must notice each, and accept the untouched copy."""
    stage, count = make_stage(folder / "bits"), Count("single bits flipped")
    path = commit(stage, 1)
    files = sorted(file for file in path.iterdir() if file.is_file())
    sizes = [file.stat().st_size for file in files]
    for _ in range(tries):
        (file,) = dice.choices(files, weights=sizes)
        content = file.read_bytes()
        place, bit = dice.randrange(len(content)), 1 << dice.randrange(8)
        file.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        count.tried, count.bad = count.tried + 1, count.bad + judge(path, level=1).whole
        file.write_bytes(content)
    accepted = judge(path, level=1).whole
    count.bad += not accepted
    count.detail = f"in {len(files)} files; the untouched copy is {'accepted' if accepted else 'REFUSED'}"
    return count


if __name__ == "__main__":
    main()
