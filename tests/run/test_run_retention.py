from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from run_samples import commit, flip_last, make_stage, sample_files, saved_steps

from terrarium.run.checkpoint import read_files, recover
from terrarium.run.folder import StageFolder
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    return make_stage(tmp_path)


def everything(stage: StageFolder) -> list[str]:
    return sorted(path.name for path in stage.checkpoints_path.iterdir())


def test_retention_keeps_the_newest(stage: StageFolder) -> None:
    for step in range(5):
        commit(stage, step, keep=2)
        assert saved_steps(stage) == list(range(max(0, step - 1), step + 1))
    assert everything(stage) == ["dynamics_step_3", "dynamics_step_4", "latest"]


def test_damaged_ones_never_push_out_a_valid_one(stage: StageFolder) -> None:
    for step in range(1, 4):
        commit(stage, step, keep=9)
    for step in (2, 3):
        weights_file = stage.checkpoint_path(step) / "model.safetensors"
        weights_file.write_bytes(flip_last(weights_file.read_bytes()))
    commit(stage, 4, keep=2)
    assert saved_steps(stage) == [1, 2, 3, 4]
    best, passed_over = newest_valid(stage)
    assert (best, passed_over) == (stage.checkpoint_path(4), [])
    commit(stage, 5, keep=2)
    assert saved_steps(stage) == [4, 5]


def test_a_lower_step_than_the_others_is_kept(stage: StageFolder) -> None:
    for step in (10, 20, 30):
        commit(stage, step)
    commit(stage, 5, keep=1)
    assert 5 in saved_steps(stage)


def test_retention_spares_strangers(stage: StageFolder, tmp_path: Path) -> None:
    foreign = shutil.move(commit(make_stage(tmp_path / "other"), 1), stage.checkpoints_path)
    unknown = stage.checkpoint_path(2)
    unknown.mkdir()
    (unknown / "model_state_dict.pt").write_bytes(b"precious")
    for step in (3, 4, 5):
        commit(stage, step, keep=1)
    assert saved_steps(stage) == [1, 2, 5]
    assert judge(Path(foreign)).whole


def test_the_same_again_changes_nothing(stage: StageFolder) -> None:
    path = commit(stage, 7)
    before = (path / "manifest.json").stat()
    assert commit(stage, 7) == path
    assert (path / "manifest.json").stat() == before


@pytest.mark.parametrize("damage", ["none", "bytes", "manifest", "file"])
def test_the_same_step_can_be_saved_anew(stage: StageFolder, damage: str) -> None:
    path = commit(stage, 7, seed=1)
    if damage == "bytes":
        os.truncate(path / "model.safetensors", 5)
    elif damage == "manifest":
        (path / "manifest.json").unlink()
    elif damage == "file":
        shutil.rmtree(path)
        path.write_text("what is this?")
    commit(stage, 7, seed=2)
    assert read_files(path) == sample_files(2)
    assert everything(stage) == ["dynamics_step_7", "latest"]


def test_a_strangers_checkpoint_of_the_same_step_is_kept_aside(stage: StageFolder, tmp_path: Path) -> None:
    shutil.move(commit(make_stage(tmp_path / "other"), 7, seed=5), stage.checkpoints_path)
    commit(stage, 7)
    commit(stage, 8, keep=1)
    (aside,) = stage.checkpoints_path.glob(".foreign-dynamics_step_7-*")
    assert read_files(aside) == sample_files(5)
    assert saved_steps(stage) == [8]


def test_a_living_writers_folder_is_left_alone(stage: StageFolder) -> None:
    living = stage.checkpoints_path / f".staging-dynamics_step_1-{os.getppid()}"
    dead = stage.checkpoints_path / ".staging-dynamics_step_1-999999999"
    mine = stage.checkpoints_path / f".removed-dynamics_step_1-{os.getpid()}"
    unknown = stage.checkpoints_path / ".staging-notes-999999999"
    for path in (living, dead, mine, unknown):
        path.mkdir()
    recover(stage)
    assert everything(stage) == sorted([living.name, unknown.name])


def test_recover_where_nothing_is(stage: StageFolder) -> None:
    (stage.checkpoints_path / "latest").write_text("dynamics_step_3\n")
    assert recover(stage) == (None, [])
    assert everything(stage) == []
    shutil.rmtree(stage.checkpoints_path)
    assert recover(stage) == (None, [])
