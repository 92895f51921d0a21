"""Whether a resume says truly that it is the run that was not stopped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from terrarium import pipeline
from terrarium.run.checkpoint import read_state
from terrarium.run.folder import STAGES, RunFolder
from terrarium.train import surroundings as module
from terrarium.train.surroundings import how_it_goes_on, surroundings
from tiny_training import Told, flip_a_bit

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def stopped(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with its last steps still to be taken."""
    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)
    run = RunFolder.open(shutil.copytree(trained.path, tmp_path / "stopped"))
    shutil.rmtree(run.stage("dynamics").checkpoint_path(6))
    return run


def said_of(run: RunFolder) -> list[str]:
    told = Told()
    pipeline.train(run.path, None, None, told)
    return [line for line in told.lines if "bit for bit" in line]


def test_a_resume_says_that_it_is_the_same_run_and_a_finished_one_nothing(stopped: RunFolder) -> None:
    assert said_of(stopped) == ["it goes on bit for bit, as if it had not been stopped"]
    assert said_of(stopped) == []


def test_a_resume_with_other_threads_says_so(stopped: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {**surroundings("cpu", 1, "ddp"), "threads": 64, "torch": "9.9"}
    monkeypatch.setattr(pipeline, "surroundings", lambda *_: now)
    (said,) = said_of(stopped)
    assert said.startswith("it goes on, but may not be bit for bit the run that was not stopped: torch was ")
    assert said.endswith(f", is 9.9; threads was {torch.get_num_threads()}, is 64")


def test_the_newest_checkpoint_that_can_be_read_is_asked(stopped: RunFolder) -> None:
    now = surroundings("cpu", 1, "ddp")
    flip_a_bit(stopped.stage("dynamics").checkpoint_path(3) / "state.json")
    assert how_it_goes_on(stopped, now).startswith("it goes on bit for bit")
    for name in STAGES:
        shutil.rmtree(stopped.stage(name).path)
    assert how_it_goes_on(stopped, now) == ""


def test_a_checkpoint_that_does_not_say_is_not_vouched_for(
    stopped: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {**read_state(stopped.stage("dynamics").checkpoint_path(3)), module.KEY: None}
    monkeypatch.setattr(module, "read_state", lambda _path: older)
    assert "can't be told" in how_it_goes_on(stopped, surroundings("cpu", 1, "ddp"))


def test_what_computes_has_a_name() -> None:
    found = surroundings("cpu", 2, "ddp")
    assert found["processes"] == 2
    assert found["device"]
    assert found["torch"] == torch.__version__


def test_of_several_processes_the_strategy_counts_too() -> None:
    """Sums over shards add up in another order."""
    assert "strategy" not in surroundings("cpu", 1, "fsdp")
    assert surroundings("cpu", 2, "ddp") != surroundings("cpu", 2, "fsdp")
