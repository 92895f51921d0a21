"""Pins, the best one, and asking a live run to stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from run_samples import commit, sample_files, sample_state, saved_steps

from terrarium.errors import RunError
from terrarium.run.checkpoint import commit_checkpoint
from terrarium.run.folder import RunFolder, StageFolder
from terrarium.run.freeze import STOP, ask_to_stop, forget_stop, freeze, is_asked_to_stop
from terrarium.run.lock import RunLock, is_held
from terrarium.run.retention import PINNED, best, pin, pinned, remove_beyond
from terrarium.run.survey import judge_path, newest_valid

pytestmark = pytest.mark.usefixtures("quick_disk")
HOLDER = """
import sys, time
from pathlib import Path
from terrarium.run.freeze import is_asked_to_stop
from terrarium.run.lock import RunLock
run = Path(sys.argv[1])
with RunLock(run):
    print("held", flush=True)
    while not (sys.argv[2] == "polite" and is_asked_to_stop(run)):
        time.sleep(0.01)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", facts={})


@pytest.fixture
def stage(run: RunFolder) -> StageFolder:
    return run.stage("dynamics").create()


def commit_with_loss(stage: StageFolder, step: int, loss: float, keep: int = 2) -> None:
    commit_checkpoint(
        stage, step, sample_files(step), state={**sample_state(step), "probe_loss": loss}, keep=keep
    )


def test_what_is_pinned_stays_and_does_not_count(stage: StageFolder) -> None:
    commit(stage, 1, keep=2)
    pin(stage, "dynamics_step_1", "before the trouble")
    for step in (2, 3, 4, 5):
        commit(stage, step, keep=2)
    assert saved_steps(stage) == [1, 4, 5]
    assert pinned(stage) == {"dynamics_step_1": "before the trouble"}


@pytest.mark.parametrize("content", ["{", "[]", '{"../../run.json": 1, "gone": 2}'])
def test_damaged_pins_pin_nothing_and_stop_nothing(stage: StageFolder, content: str) -> None:
    stage.checkpoints_path.mkdir(parents=True, exist_ok=True)
    (stage.checkpoints_path / PINNED).write_text(content)
    for step in (1, 2, 3):
        commit(stage, step, keep=1)
    assert saved_steps(stage) == [3]


def test_the_best_one_stays(stage: StageFolder) -> None:
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 1.5), (5, 1.4)):
        commit_with_loss(stage, step, loss)
    assert saved_steps(stage) == [2, 4, 5]
    assert best(stage) == stage.checkpoint_path(2)
    commit_with_loss(stage, 6, 0.5)
    commit_with_loss(stage, 7, 0.6)
    assert saved_steps(stage) == [6, 7], "a better one has come: the old best goes"


def test_what_came_from_elsewhere_or_lost_a_file_is_not_the_best(stage: StageFolder, tmp_path: Path) -> None:
    """However low its loss: it must not let our own best one go."""
    stranger = RunFolder.create(tmp_path / "other", facts={}).stage("dynamics").create()
    commit_with_loss(stranger, 90, 0.1)
    stranger.checkpoint_path(90).rename(stage.checkpoint_path(90))
    for step, loss in ((1, 0.2), (2, 1.0), (3, 2.0)):
        commit_with_loss(stage, step, loss)
    (stage.checkpoint_path(1) / "optimizer.safetensors").unlink()
    for step in (4, 5, 6):
        commit_with_loss(stage, step, 3.0)
    assert best(stage) == stage.checkpoint_path(2)
    assert saved_steps(stage) == [2, 5, 6, 90]


def test_killed_while_it_goes_back_latest_names_what_is_there(
    stage: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2, 3):
        commit(stage, step, keep=9)

    def die(point: str) -> None:
        raise KeyboardInterrupt(point)

    monkeypatch.setattr("terrarium.run.disk.failpoint", die)
    with pytest.raises(KeyboardInterrupt):
        remove_beyond(stage, 1)
    assert saved_steps(stage) == [1, 2]
    assert [each.reason for each in judge_path(stage.path) if not each.whole] == []
    assert newest_valid(stage)[0] == stage.checkpoint_path(2), "the rest is done when it goes on"


def test_going_back_removes_what_lies_beyond_and_nothing_of_others(
    stage: StageFolder, run: RunFolder, tmp_path: Path
) -> None:
    stranger = RunFolder.create(tmp_path / "other", facts={}).stage("dynamics").create()
    commit(stranger, 9, keep=1)
    for step in (1, 2, 3):
        commit(stage, step, keep=9)
    stranger.checkpoint_path(9).rename(stage.checkpoint_path(9))
    remove_beyond(stage, 1)
    assert saved_steps(stage) == [1, 9]
    assert not [path for path in stage.checkpoints_path.iterdir() if path.name.startswith(".removed")]


def test_a_run_is_held_or_not(run: RunFolder) -> None:
    assert is_held(run.path) is None
    with RunLock(run.path):
        assert is_held(run.path) is True
    assert is_held(run.path) is False


@contextmanager
def held(run: RunFolder, manners: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a run; it is gone afterwards."""
    command = [sys.executable, "-c", HOLDER, str(run.path), manners]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_live_run_is_asked_and_leaves(run: RunFolder, stage: StageFolder) -> None:
    commit(stage, 1, keep=1)
    with held(run, "polite") as process:
        assert freeze(run, timeout=30) == {"dynamics": stage.checkpoint_path(1)}
        assert process.wait(timeout=30) == 0
    assert pinned(stage) == {"dynamics_step_1": "frozen"}
    assert not (run.path / STOP).exists()


def test_what_it_saves_before_it_leaves_is_what_is_pinned(
    run: RunFolder, stage: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(stage, 1, keep=2)
    answers = iter([True, True, False])

    def is_held_by_one_that_saves(_path: Path) -> bool:
        if is_asked_to_stop(run.path) and not stage.checkpoint_path(2).exists():
            assert pinned(stage) == {"dynamics_step_1": "frozen"}, "in case that it never leaves"
            commit(stage, 2, keep=2)
        return next(answers)

    monkeypatch.setattr("terrarium.run.freeze.is_held", is_held_by_one_that_saves)
    assert freeze(run, timeout=30) == {"dynamics": stage.checkpoint_path(2)}
    assert pinned(stage) == {"dynamics_step_2": "frozen"}


def test_one_that_does_not_leave_is_not_killed(run: RunFolder) -> None:
    with held(run, "deaf") as process:
        with pytest.raises(RunError, match="still being trained"):
            freeze(run, timeout=0.3)
        time.sleep(0.1)
        assert process.poll() is None


def test_a_dead_run_is_only_pinned(run: RunFolder, stage: StageFolder) -> None:
    assert freeze(run, timeout=0) == {"dynamics": None}
    assert not is_asked_to_stop(run.path)
    ask_to_stop(run.path)
    assert is_asked_to_stop(run.path)
    forget_stop(run.path)
    forget_stop(run.path)
    assert not is_asked_to_stop(run.path)
