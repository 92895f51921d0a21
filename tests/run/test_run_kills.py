"""Real SIGKILLs of a process that saves, at exact places and at random moments; files that may not grow."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_samples import commit, make_stage, sample_files

from terrarium.errors import CheckpointError
from terrarium.run.checkpoint import read_files, recover
from terrarium.run.folder import StageFolder
from terrarium.run.survey import judge_path, list_checkpoints, newest_valid
from terrarium.run.verify import judge

SAVER = Path(__file__).with_name("run_saver.py")


@pytest.fixture
def stage(tmp_path: Path) -> StageFolder:
    return make_stage(tmp_path)


def start(stage: StageFolder, first: int, count: int, failpoint: str = "") -> subprocess.Popen[str]:
    """The saver, up to the moment when it is about to save."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
        "TERRARIUM_FAILPOINT": failpoint,
    }
    command = [sys.executable, str(SAVER), str(stage.path), stage.run_id, str(first), str(count)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def save_in_another_process(stage: StageFolder, step: int, failpoint: str) -> None:
    with start(stage, step, 1, failpoint) as saver:
        assert saver.wait(60) == -signal.SIGKILL


def hidden(stage: StageFolder) -> list[str]:
    return sorted(path.name for path in stage.checkpoints_path.glob(".*"))


def latest(stage: StageFolder) -> str:
    return (stage.checkpoints_path / "latest").read_text()


@pytest.mark.parametrize("point", ["commit:files", "commit:staged"])
def test_killed_before_the_rename_the_old_one_counts(stage: StageFolder, point: str) -> None:
    old = commit(stage, 1)
    save_in_another_process(stage, 2, point)
    assert len(hidden(stage)) == 1
    assert list_checkpoints(stage) == [old]
    assert [each.whole for each in judge_path(stage.path)] == [True]
    assert recover(stage) == (old, [])
    assert hidden(stage) == []


def test_killed_between_rename_and_latest_the_new_one_counts(stage: StageFolder) -> None:
    commit(stage, 1)
    save_in_another_process(stage, 2, "commit:renamed")
    assert latest(stage) == "dynamics_step_1\n"
    assert newest_valid(stage) == (stage.checkpoint_path(2), [])
    assert recover(stage) == (stage.checkpoint_path(2), [])
    assert latest(stage) == "dynamics_step_2\n"


@pytest.mark.parametrize("point", ["commit:latest", "commit:removed"])
def test_killed_during_retention_no_half_is_seen(stage: StageFolder, point: str) -> None:
    for step in (1, 2, 3):
        commit(stage, step)
    save_in_another_process(stage, 4, point)
    assert newest_valid(stage) == (stage.checkpoint_path(4), [])
    assert all(each.whole for each in judge_path(stage.path))
    commit(stage, 5, keep=2)
    assert [path.name for path in list_checkpoints(stage)] == ["dynamics_step_4", "dynamics_step_5"]
    assert hidden(stage) == []


def test_killed_while_replacing_the_replaced_one_comes_back(stage: StageFolder) -> None:
    commit(stage, 1)
    replaced = commit(stage, 2, seed=99)
    save_in_another_process(stage, 2, "commit:aside")
    assert newest_valid(stage)[0] == stage.checkpoint_path(1)
    assert recover(stage) == (replaced, [])
    assert read_files(replaced) == sample_files(99)
    assert hidden(stage) == []


def test_kills_at_random_moments_lose_no_committed_step(stage: StageFolder) -> None:
    dice = random.Random(20261122)  # noqa: S311 - no secret: when to kill
    committed = -1
    for _ in range(25):
        with start(stage, committed + 1, 10_000) as saver:
            assert saver.stdout is not None
            assert saver.stdout.readline() == "ready\n"
            told = [saver.stdout.readline() for _ in range(dice.randint(0, 2))]  # so there is progress
            time.sleep(dice.uniform(0, 0.03))
            saver.kill()
            told += saver.stdout.read().splitlines(keepends=True)
        committed = max([committed, *(int(line) for line in told if line.endswith("\n"))])

        best, passed_over = newest_valid(stage)
        assert passed_over == []
        found = -1 if best is None else judge(best).step
        assert found in (committed, committed + 1)  # the last one may count without having been told
        if best is not None and found is not None:
            assert read_files(best) == sample_files(found)
            committed = found
            assert all(each.whole for each in judge_path(stage.path))
    assert committed > 10
    recover(stage)
    assert hidden(stage) == []


def test_files_that_may_not_grow(stage: StageFolder) -> None:
    """What a full disk does, by the kernel: writing fails in the midst of a file."""
    old = commit(stage, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
    try:
        with pytest.raises(CheckpointError, match=r"step 2 can't be saved.*File too large"):
            commit(stage, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert hidden(stage) == []
    assert newest_valid(stage) == (old, [])
    assert newest_valid(stage)[0] != commit(stage, 2)
