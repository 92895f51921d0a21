"""Two runs are the same, bit for bit, or it is told what differs."""

from __future__ import annotations

import shutil

import pytest
from run_samples import commit

from terrarium.run.folder import STAGES, RunFolder
from terrarium.run.history import History
from terrarium.run.sameness import differences

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two steps in each stage."""
    run = RunFolder.create(tmp_path_factory.mktemp("runs") / "run", facts={})
    for name in STAGES:
        stage = run.stage(name).create()
        with History(stage) as history:
            for step in range(2):
                history.append({"step": step, "runtime": 0.1, "loss": 1.0 / (1 + step)})
        for step in (1, 2):
            commit(stage, step, keep=2)
    return run


@pytest.fixture
def other(run: RunFolder) -> RunFolder:
    return RunFolder.open(shutil.copytree(run.path, run.path.with_name("other")))


def test_what_the_machine_decides_and_older_checkpoints_may_differ(run: RunFolder, other: RunFolder) -> None:
    history = other.stage("dynamics").history_path
    history.write_text(history.read_text().replace("0.1", "0.7"))
    shutil.rmtree(other.stage("dynamics").checkpoint_path(1))
    assert differences(run, other) == differences(other, run) == []


def test_another_loss_is_told(run: RunFolder, other: RunFolder) -> None:
    history = other.stage("dynamics").history_path
    history.write_text(history.read_text().replace("0.5", "0.50000001"))
    assert differences(run, other) == ["dynamics: history"]


@pytest.mark.parametrize("step", [1, 2])
def test_another_bit_is_told(run: RunFolder, other: RunFolder, step: int) -> None:
    file = other.stage("latent_actions").checkpoint_path(step) / "ema.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    told = f"latent_actions: latent_actions_step_{step}/ema.safetensors"
    assert differences(run, other) == differences(other, run) == [told]


def test_without_its_last_step_it_is_not_the_same(run: RunFolder, other: RunFolder) -> None:
    (other.stage("dynamics").checkpoint_path(2) / "optimizer.safetensors").unlink()
    told = ["dynamics: dynamics_step_2/optimizer.safetensors"]
    assert differences(run, other) == differences(other, run) == told
