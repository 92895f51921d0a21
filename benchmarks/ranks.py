"""Jobs of several processes whose members are killed: whether the launcher brings them back to the same end.

    python benchmarks/ranks.py [--kills 20] [--jobs 4] [--ranks 2] [--strategy fsdp] [--checkpoints sharded]

Each job is `torchrun --max-restarts` with `terrarium train`. Again and again, at random moments, a random
rank gets SIGKILL; nobody else does anything. In the end history, weights, average and optimizer of all stages
are compared, bit for bit, with a job that was left alone. Exits with 1 where something differs or was lost.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from terrarium.run.folder import STAGES, RunFolder, checkpoint_step
from terrarium.run.sameness import differences
from terrarium.run.survey import newest_valid
from tiny_world import as_options, store_footage

PATIENCE = 600.0  # seconds that a job may take
SETTINGS = (
    *(f"{name}.steps=60" for name in STAGES),
    *(f"{name}.batch_size=6" for name in STAGES),
    *(f"{name}.checkpoint_every=5" for name in STAGES),
    *(f"{name}.picture_every=30" for name in STAGES),
)
RESUMED = re.compile(r"resuming (\w+) from step (\d+)")


@dataclass
class Kill:
    """One kill: whom it hit, and where each stage's newest checkpoint stood."""

    rank: str
    saved: dict[str, int]
    said_before: int  # characters of the log


@dataclass
class Outcome:
    """What became of a job."""

    kills: list[Kill] = field(default_factory=list)
    lost: int = 0
    differing: list[str] = field(default_factory=list)
    ended: int = 0
    seconds: float = 0.0


@click.command()
@click.option("--kills", default=20, show_default=True, help="Of all jobs together.")
@click.option("--jobs", default=4, show_default=True)
@click.option("--ranks", default=2, show_default=True)
@click.option("--strategy", default="ddp", show_default=True, type=click.Choice(["ddp", "fsdp"]))
@click.option(
    "--checkpoints", default="gathered", show_default=True, type=click.Choice(["gathered", "sharded"])
)
@click.option("--seed", default=0, show_default=True)
def main(kills: int, jobs: int, ranks: int, strategy: str, checkpoints: str, seed: int) -> None:
    """Kill ranks, and compare what comes out."""
    dice = random.Random(seed)  # noqa: S311 - no secret: when to kill
    table = Table("job", "ranks killed", "ended", "lost", "differs", "seconds", box=box.MARKDOWN)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = store_footage(folder / "footage", (32, 32)).path
        command = [
            *torchrun(ranks, 0),
            *words(data, strategy, checkpoints),
            "--run",
            str(folder / "straight"),
        ]
        began = time.monotonic()
        subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=PATIENCE)
        table.add_row("left alone", "", "0", "", "", f"{time.monotonic() - began:.0f}")
        straight = RunFolder.open(folder / "straight")
        for number in range(jobs):
            wanted = kills // jobs + (number < kills % jobs)
            run = folder / f"killed-{number}"
            outcome = kill_ranks(
                [*torchrun(ranks, wanted), *words(data, strategy, checkpoints)], run, wanted, dice
            )
            outcome.differing = differences(RunFolder.open(run), straight)
            bad += bool(outcome.differing or outcome.lost or outcome.ended or len(outcome.kills) < wanted)
            whom = " ".join(kill.rank for kill in outcome.kills)
            row = whom, outcome.ended, outcome.lost, "; ".join(outcome.differing[:3]) or "nothing"
            table.add_row(str(number), *map(str, row), f"{outcome.seconds:.0f}")
    Console(width=140, highlight=False).print(table)
    sys.exit(1 if bad else 0)


def torchrun(ranks: int, restarts: int) -> list[str]:
    """The launcher, which starts all anew so many times."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, f"--nproc-per-node={ranks}", f"--max-restarts={restarts}", "-m", "--"]


def words(data: Path, strategy: str, checkpoints: str) -> list[str]:
    """What it is to start."""
    options = as_options(*SETTINGS, f"ranks.strategy={strategy}", f"ranks.checkpoints={checkpoints}")
    return ["terrarium", "train", "--data", str(data), "--preset", "quick", *options]


def environment() -> dict[str, str]:
    """One thread for each process."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def kill_ranks(command: list[str], path: Path, wanted: int, dice: random.Random) -> Outcome:
    """Start a job, kill one of its ranks so many times, and let it come to its end."""
    outcome, log, began = Outcome(), path.with_suffix(".log"), time.monotonic()
    with log.open("w") as said:
        job = subprocess.Popen([*command, "--run", str(path)], env=environment(), stdout=said, stderr=said)
    try:
        while len(outcome.kills) < wanted and job.poll() is None:
            time.sleep(dice.uniform(0.3, 1.0) if not rows(path) else dice.uniform(0.0, 4.0))
            victims = ranks_of(job.pid) if rows(path) else {}
            if not victims:
                continue  # it has just begun, or begins anew
            rank = dice.choice(sorted(victims))
            outcome.kills.append(Kill(rank, saved(path), len(log.read_text())))
            os.kill(victims[rank], signal.SIGKILL)
            wait_for_others(victims)
        outcome.ended = job.wait(PATIENCE)
    finally:
        job.kill()
    outcome.lost = sum(lost_by(kill, log.read_text()) for kill in outcome.kills)
    outcome.seconds = time.monotonic() - began
    return outcome


def ranks_of(agent: int) -> dict[str, int]:
    """Rank -> process, of those that a launcher has started."""
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    found = {}
    for child in children:
        try:
            entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = [entry[5:].decode() for entry in entries if entry.startswith(b"RANK=")]
        if rank:
            found[rank[0]] = int(child)
    return found


def wait_for_others(victims: dict[str, int]) -> None:
    """Until the launcher has ended those that are left, so that the next kill hits their successors."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and any(Path(f"/proc/{pid}/environ").exists() for pid in victims.values()):
        time.sleep(0.05)


def rows(path: Path) -> bool:
    """Whether the job has taken a step."""
    return (path / STAGES[0] / "history.jsonl").exists()


def saved(path: Path) -> dict[str, int]:
    """Step of each stage's newest whole checkpoint."""
    newest = {name: newest_valid(RunFolder.open(path).stage(name))[0] for name in STAGES}
    return {name: checkpoint_step(found) for name, found in newest.items() if found is not None}


def lost_by(kill: Kill, log: str) -> bool:
    """Whether the stage that was resumed next began before what was saved when the kill came."""
    resumed = RESUMED.search(log, kill.said_before)
    return bool(resumed) and int(resumed[2]) < kill.saved.get(resumed[1], 0)  # type: ignore[index]


if __name__ == "__main__":
    main()
