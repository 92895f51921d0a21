"""Saving beside training: order, failures that are seen, and states that are refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import terrarium.train.saver as saver_module
from terrarium.errors import CheckpointError, RefusedStateError
from terrarium.run.folder import StageFolder
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train.saver import Saver, Snapshot
from terrarium.train.state import describe_model
from tiny_training import make_folder

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return make_folder(tmp_path / "run", "dynamics")


def snapshot(step: int, value: float = 1.0) -> Callable[[], Snapshot]:
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, value)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slots = ("exp_avg", "exp_avg_sq")
    moments = {f"{name}/{slot}": torch.zeros_like(weights[name]) for name in weights for slot in slots}
    moments |= {f"{name}/step": torch.tensor(float(step)) for name in weights}
    files = {"model.safetensors": weights, "optimizer.safetensors": moments}
    return lambda: Snapshot(step, files, describe_model(model))


def steps(folder: StageFolder) -> list[int]:
    return [int(path.name.rsplit("_", 1)[1]) for path in list_checkpoints(folder) if judge(path).whole]


def test_training_goes_on_while_a_thread_writes(folder: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, commit = threading.Event(), saver_module.commit

    def slow(*arguments: object) -> Path:
        assert may_write.wait(10)
        return commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(saver_module, "commit", slow)
    with Saver(folder, keep=3, patience=1, say=print) as saver:
        saver.save(snapshot(1))
        saver.check()
        assert steps(folder) == []
        may_write.set()
        saver.save(snapshot(2))  # waits for the first
        assert 1 in steps(folder)
        saver.finish()
    assert steps(folder) == [1, 2]
    assert saver.saves == 2
    assert saver.writer_seconds > 0


def test_a_disk_that_is_slower_than_training_is_told_once(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> Path:
        time.sleep(0.1)
        return folder.path

    monkeypatch.setattr(saver_module, "commit", slow)
    monkeypatch.setattr(saver_module, "LEAST_BACKLOG", 0.05)
    told: list[str] = []
    with Saver(folder, keep=3, patience=1, say=told.append) as saver:
        for step in (1, 2, 3):
            saver.save(snapshot(step))
        saver.finish()
    assert [line[:36] for line in told] == ["the disk is slower than training: a "]


def test_a_writer_that_dies_of_anything_is_told(folder: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*_: object) -> Path:
        raise MemoryError("no room")

    monkeypatch.setattr(saver_module, "commit", dying)
    with Saver(folder, keep=3, patience=9, say=print) as saver:
        saver.save(snapshot(1))
        with pytest.raises(CheckpointError, match="its writer died: MemoryError"):
            saver.finish()


def failing(times: int) -> Callable[..., Path]:
    commit, left = saver_module.commit, [times]

    def write(*arguments: object) -> Path:
        left[0] -= 1
        if left[0] >= 0:
            raise CheckpointError("the disk is full")
        return commit(*arguments)  # type: ignore[arg-type]

    return write


def test_a_failed_save_is_told_and_the_next_one_tries_again(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "commit", failing(2))
    told: list[str] = []
    with Saver(folder, keep=3, patience=3, say=told.append) as saver:
        for step in (1, 2, 3, 4):
            saver.save(snapshot(step))
        saver.finish()
    assert steps(folder) == [3, 4]
    assert len(told) == 2
    assert "2 more may fail" in told[0]
    assert "1 more may fail" in told[1]


def test_too_many_failures_in_a_row_stop_training_and_so_does_a_failed_last_one(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "commit", failing(2))
    with (
        Saver(folder, keep=3, patience=2, say=lambda _: None) as saver,
        pytest.raises(CheckpointError, match="disk is full"),
    ):
        for step in (1, 2, 3):
            saver.save(snapshot(step))
    monkeypatch.setattr(saver_module, "commit", failing(1))
    with Saver(folder, keep=3, patience=9, say=lambda _: None) as saver:
        saver.save(snapshot(5))
        with pytest.raises(CheckpointError, match="disk is full"):
            saver.finish()


def test_a_failure_is_told_even_where_training_dies_of_something_else(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver_module, "commit", failing(1))
    told: list[str] = []
    with pytest.raises(ZeroDivisionError), Saver(folder, keep=3, patience=3, say=told.append) as saver:
        saver.save(snapshot(1))
        raise ZeroDivisionError
    assert told == ["a checkpoint was not saved: the disk is full"]


@pytest.mark.parametrize("ill", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_stops_at_once_and_is_put_aside(folder: StageFolder, ill: float) -> None:
    with Saver(folder, keep=3, patience=9, say=lambda _: None) as saver:
        saver.save(snapshot(1))
        for step in (2, 3):
            saver.save(snapshot(step, ill))
            with pytest.raises(RefusedStateError, match="not finite"):
                saver.finish()
    assert steps(folder) == [1]
    (aside,) = folder.checkpoints_path.glob(".refused-*")  # the last one only
    assert "step_3" in aside.name
    assert sorted(path.name for path in aside.iterdir()) == ["model.safetensors", "optimizer.safetensors"]
    assert [path.name for path in list_checkpoints(folder)] == ["dynamics_step_1"]
