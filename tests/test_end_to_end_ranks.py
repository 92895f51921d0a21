"""A job of two processes from the command line: one is killed, the launcher brings both back, it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from terrarium.data.dataset import Dataset
from terrarium.run.folder import STAGES, RunFolder
from terrarium.run.sameness import timeless
from terrarium.run.survey import judge_path
from tiny_world import as_options

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SETTINGS = [f"{name}.{setting}" for name in STAGES for setting in ("batch_size=4", "steps=12")]


def words(footage: Dataset, run: Path) -> list[str]:
    """What a user types."""
    train = ["terrarium", "train", "--data", str(footage.path), "--run", str(run), "--preset", "quick"]
    return [*LAUNCHER, "--max-restarts=2", "-m", "--", *train, *as_options(*SETTINGS)]


def ranks_of(launcher: int) -> dict[str, int]:
    """Rank -> process, of those that a launcher has started."""
    found: dict[str, int] = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {entry[5:].decode(): int(child) for entry in entries if entry.startswith(b"RANK=")}
    return found


def assert_replayed_only_by_as_many(run: Path, environment: dict[str, str]) -> None:
    """L5 holds in two processes, bit for bit; one can't tell."""
    verify = ["terrarium", "verify", str(run / "dynamics"), "--level", "5"]
    for launcher, code in (([*LAUNCHER, "-m", "--"], 0), ([sys.executable, "-m"], 12)):
        ended = subprocess.run(
            [*launcher, *verify], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stderr
    assert "verify with torchrun --nproc-per-node 2" in ended.stdout


def test_a_killed_rank_comes_back_and_the_job_ends(footage: Dataset, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "said"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    history = run / "latent_actions" / "history.jsonl"
    with (
        log.open("w") as said,
        subprocess.Popen(words(footage, run), env=environment, stdout=said, stderr=said) as job,
    ):
        end = time.monotonic() + 120
        while not history.exists() and job.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(ranks_of(job.pid)["1"], signal.SIGKILL)
        assert job.wait(180) == 0, log.read_text()
    assert "error on rank" not in log.read_text().rpartition("failed (exitcode: -9)")[2]
    folder = RunFolder.open(run)
    for name in STAGES:
        assert [row["step"] for row in timeless(folder.stage(name))] == list(range(12)), "no row twice"
    assert all(judgement.whole for judgement in judge_path(run, 3))
    assert_replayed_only_by_as_many(run, environment)
    report = json.loads((run / "report.json").read_text())
    assert set(report["stages"]) == set(STAGES)
