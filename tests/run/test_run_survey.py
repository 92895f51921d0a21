from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from run_samples import commit, make_run, make_stage

from terrarium.run.folder import StageFolder
from terrarium.run.survey import judge_path, newest_valid


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    return make_stage(tmp_path)


@pytest.fixture
def checkpoint(stage: StageFolder) -> Path:
    return commit(stage, 100)


def test_the_third_is_found_where_two_are_empty(stage: StageFolder, checkpoint: Path) -> None:
    for step in (200, 300):
        for path in commit(stage, step).iterdir():
            os.truncate(path, 0)
    best, passed_over = newest_valid(stage)
    assert best == checkpoint
    assert [(each.step, each.level) for each in passed_over] == [(300, -1), (200, -1)]


def test_verify_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert [each.reason for each in judge_path(run.path)] == ["there is no checkpoint in this run"]
    tokenizer = run.stage("video_tokenizer").create()
    assert not judge_path(run.path)[0].whole
    commit(tokenizer, 1)
    run.stage("dynamics").create()  # begun, not yet saved
    assert [each.whole for each in judge_path(run.path)] == [True]
    assert not judge_path(run.path / "dynamics")[0].whole
    (tmp_path / "link").symlink_to(run.path)
    assert judge_path(tmp_path / "link")[0].whole


def test_verify_names_the_fallback(stage: StageFolder, checkpoint: Path) -> None:
    newest = commit(stage, 200)
    os.truncate(checkpoint / "model.safetensors", 9)
    for path in (stage.path, stage.path.parent, stage.checkpoints_path):
        old, new = judge_path(path)
        assert (old.whole, old.fallback, new.whole, new.fallback) == (False, newest, True, None)
    shutil.rmtree(newest)
    old, latest = judge_path(stage.path)
    assert old.fallback is None
    assert (latest.path.name, latest.whole) == ("latest", False)
    assert "dynamics_step_200" in latest.reason


def test_verify_a_checkpoint(stage: StageFolder, checkpoint: Path, tmp_path: Path) -> None:
    assert [each.whole for each in judge_path(checkpoint)] == [True]
    alone = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / checkpoint.name))
    assert judge_path(alone)[0].whole
    foreign = commit(make_stage(tmp_path / "other"), 300)
    moved = Path(shutil.move(foreign, stage.checkpoints_path))
    assert judge_path(moved)[0].foreign


def test_a_copy_is_judged_wherever_it_lies_and_by_any_name_that_says_no_other_step(
    checkpoint: Path, tmp_path: Path
) -> None:
    stranger = make_run(tmp_path / "other").path
    for place in (stranger / "a" / "b" / checkpoint.name, tmp_path / "best"):
        (found,) = judge_path(Path(shutil.copytree(checkpoint, place)))
        assert (found.whole, found.foreign) == (True, False)
    (found,) = judge_path(Path(shutil.copytree(checkpoint, tmp_path / "dynamics_step_7")))
    assert (found.whole, found.flaw) == (False, "wrong-step")


def test_a_symlink_to_a_checkpoint_of_another_step_is_not_gone_on_from(
    stage: StageFolder, checkpoint: Path
) -> None:
    stage.checkpoint_path(900).symlink_to(checkpoint)
    best, passed_over = newest_valid(stage)
    assert best == checkpoint
    assert [each.flaw for each in passed_over] == ["wrong-step"]


def test_what_we_may_not_read_is_not_said_to_be_damaged(
    stage: StageFolder, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge_path(stage.checkpoints_path / ("x" * 300))[0].flaw == "unreadable"

    def forbid(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("terrarium.run.disk.open_regular", forbid)
    (found,) = judge_path(checkpoint)
    assert (found.whole, found.flaw) == (False, "unreadable")
    assert found.reason == "manifest.json can't be read: Permission denied"


def test_verify_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    (tmp_path / "stray" / "checkpoints").mkdir(parents=True)
    (tmp_path / "dynamics").mkdir()
    for path in (
        tmp_path,
        tmp_path / "stray",
        tmp_path / "dynamics",
        tmp_path / "nowhere",
        tmp_path / "run.json",
    ):
        found = judge_path(path)
        assert [each.whole for each in found] == [False]
        assert found[0].reason
