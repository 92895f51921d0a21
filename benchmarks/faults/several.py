"""Jobs of two processes under a launcher, of which one goes wrong.

Whatever became of a job, it must end as the one that nobody disturbed: history, weights, average and
optimizer, bit for bit; but for the job whose clips were the same in both, which is another training.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faults.fault import Fault, Outcome, dice_of
from faults.lives import STEPS, became, footage, scratch
from faults.processes import Ended, finish, rows, stage_of, started, training, wait_until
from terrarium.run.rows import read_history
from terrarium.run.sameness import timeless
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge
from terrarium.train.adjustments import Adjustments

SETTINGS = (
    f"steps={STEPS}",
    "batch_size=6",
    "warmup_steps=10",
    "checkpoint_every=10",
    "gate_every=10",
    "picture_every=1000",
)
PATIENCE = "ranks.timeout_seconds=5"  # for a process that stands still
ALL_SAVE, OVERLAP = "every-rank-saves", "ranks-share-clips"
ROUNDING = 1e-3  # relative, of losses: micro-batches are added up in another order, and steps follow it
STRAGGLER, CLOCK = "rank-slower", "rank-clocks-differ"


def begun(run: Path, steps: int, job: Job) -> None:
    """Wait until a job has taken so many steps."""
    if not wait_until(lambda: rows(run) >= steps, job):
        raise RuntimeError(f"the job did not come to step {steps}")


Job = subprocess.Popen[bytes]


def last_words(ended: Ended) -> str:
    """The errors that were told."""
    return " / ".join(line for line in ended.said.splitlines() if line.startswith("error"))[:600]


def launched(run: Path, seed: int, *, spoil: str = "", restarts: int = 0) -> list[str]:
    """The words that start a job of two, or go on with it."""
    _, *words = training(run, footage(), seed, *SETTINGS, spoil=spoil)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*launcher, f"--max-restarts={restarts}", "--shutdown-timeout=3", "--", *words, "--set", PATIENCE]


@functools.cache
def undisturbed(seed: int) -> Path:
    """A job of a seed that nobody disturbed."""
    run = Path(scratch().name) / f"undisturbed-job-{seed}"
    ended = finish(launched(run, seed))
    if ended.code:
        raise RuntimeError(ended.said)
    return run


def is_undisturbed(run: Path, seed: int) -> bool:
    """Whether it became what the undisturbed one is."""
    return became(run, undisturbed(seed))


def codes(run: Path) -> list[str]:
    """What the doctor finds in a run, the first cause first."""
    finish([sys.executable, "-m", "terrarium", "diagnose", str(run)])
    report = json.loads((run / "report.json").read_text())
    return [finding["code"] for finding in report["findings"]]


def all_save(folder: Path, seed: int) -> Outcome:
    """Fault 1, the seed's: every process saves to one path, and only the first has the state."""
    run = folder / "run"
    with started(launched(run, seed), folder / "said") as job:
        begun(run, 1 + dice_of(seed).randrange(8), job)
        job.terminate()  # it saves, and leaves
        job.wait(60)
    before = newest_valid(stage_of(run))[0]
    ended = finish(launched(run, seed, spoil="all-save"))
    refused = "0 keys" in ended.said and "on rank 1" in ended.said
    found = codes(run)
    kept = before is not None and judge(before).whole and finish(launched(run, seed)).code == 0
    kept = kept and is_undisturbed(run, seed)
    detail = f"{found} {last_words(ended)}"
    return Outcome(refused and ended.code != 0, kept, found[:1] == [ALL_SAVE], detail=detail)


def same_clips(folder: Path, seed: int) -> Outcome:
    """Fault 50: both processes train on the same clips."""
    run = folder / "run"
    ended = finish(launched(run, seed, spoil="same-clips"))
    found = codes(run)
    return Outcome(OVERLAP in found, None, found[:1] == [OVERLAP], detail=f"{found} {last_words(ended)}")


def slow_rank(folder: Path, seed: int) -> Outcome:
    """One process is slower than the other in every step."""
    run, pause = folder / "run", dice_of(seed).uniform(0.05, 0.2)
    finish(launched(run, seed, spoil=f"slow-rank:{pause:.3f}"))
    found = codes(run)
    return Outcome(STRAGGLER in found, is_undisturbed(run, seed), found[:1] == [STRAGGLER], detail=str(found))


def rank_clock(folder: Path, seed: int) -> Outcome:
    """The clock of one process is wrong by minutes or days."""
    run, ahead = folder / "run", dice_of(seed).choice([-90.0, 600.0, 3 * 86400.0])
    finish(launched(run, seed, spoil=f"rank-clock:{ahead}"))
    found = codes(run)
    return Outcome(CLOCK in found, is_undisturbed(run, seed), found[:1] == [CLOCK], detail=str(found))


def dead_rank(folder: Path, seed: int, how: str = "dead-rank") -> Outcome:
    """One process is killed, or stands still, and the launcher starts all anew."""
    run, step = folder / "run", dice_of(seed).randrange(1, STEPS - 1)
    ended = finish(launched(run, seed, spoil=f"{how}:{step}", restarts=1))
    told = re.search("another of the processes that train together is gone", ended.said) is not None
    return Outcome(told and ended.code == 0, is_undisturbed(run, seed), detail=last_words(ended))


def bad_clip(folder: Path, seed: int) -> Outcome:
    """A clip of one process is not finite: all refuse the step, and pass over its batch."""
    run, step = folder / "run", dice_of(seed).randrange(1, STEPS - 1)
    ended = finish(launched(run, seed, spoil=f"bad-clip:{step}"))
    decisions = [json.loads(line) for line in (stage_of(run).path / "gates.jsonl").read_text().splitlines()]
    told = [each for each in decisions if each["code"] == "loss-not-finite" and each["onset"] == step]
    newest = newest_valid(stage_of(run))[0]
    kept = (
        newest is not None
        and judge(newest).step == STEPS
        and timeless(stage_of(run))[:step] == (timeless(stage_of(undisturbed(seed)))[:step])
    )
    return Outcome(len(told) == 1 and ended.code == 0, kept, detail=last_words(ended))


def no_room(folder: Path, seed: int) -> Outcome:
    """One process has no room for its share: all start again, take the batch in parts, and get to the end."""
    run = folder / "run"
    ended = finish(launched(run, seed, spoil="no-room-for-more-than:2", restarts=1))
    halved = Adjustments.read(stage_of(run)).accumulation_factor(0) == 2
    apart = np.abs(losses(run) / losses(undisturbed(seed)) - 1)
    return Outcome(halved and ended.code == 0, bool(apart.max() < ROUNDING), detail=last_words(ended))


def losses(run: Path) -> NDArray[np.float64]:
    """The loss of each step."""
    return np.array([row["loss"] for row in read_history(stage_of(run).history_path).rows], np.float64)


def two_launchers(folder: Path, seed: int) -> Outcome:
    """A second launcher is started on a run that is being trained."""
    run = folder / "run"
    hangs = 1 + dice_of(seed).randrange(STEPS - 1)  # so that it lives while the second one comes and goes
    with started(launched(run, seed, spoil=f"hang:{hangs}"), folder / "said") as job:
        begun(run, 1, job)
        second = finish(launched(run, seed))
        alive = job.poll() is None
        job.terminate()
        job.wait(60)
    told = re.search(r"is being written by process \d+ on ", second.said) is not None
    kept = alive and finish(launched(run, seed)).code == 0 and is_undisturbed(run, seed)
    return Outcome(told and second.code != 0, kept, detail=last_words(second))


def healthy(folder: Path, seed: int) -> Outcome:
    """Nothing is wrong."""
    run = folder / "run"
    ended = finish(launched(run, seed))
    found = codes(run)
    alarmed = ended.code != 0 or bool({OVERLAP, STRAGGLER, CLOCK} & set(found))
    return Outcome(alarmed, is_undisturbed(run, seed), detail=f"{found} {last_words(ended)}")


FAULTS = (
    Fault(0, "two processes", healthy, healthy=True),
    Fault(1, "every process saves to one path", all_save),
    Fault(44, "two launchers of two processes", two_launchers),
    Fault(45, "the clock of one process is wrong", rank_clock),
    Fault(50, "one seed for all processes", same_clips),
    Fault(3, "one of two processes is killed", dead_rank),
    Fault(30, "a clip of one of two processes is not finite", bad_clip),
    Fault(38, "one of two processes stands still", functools.partial(dead_rank, how="stopped-rank")),
    Fault(40, "one of two processes is slow", slow_rank),
    Fault(43, "one of two processes is out of memory", no_room),
)
