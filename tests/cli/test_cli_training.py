"""`terrarium train`: what is refused, how it ends, and how it goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]

from terrarium import smoke
from terrarium.cli.runs import run_path
from terrarium.data.dataset import Dataset
from terrarium.run.folder import STAGES, RunFolder
from terrarium.run.lock import RunLock
from terrarium.run.retention import pinned
from terrarium.train import rendezvous
from tiny_training import terminate_after, timeless
from tiny_world import as_options, store_footage
from typed_commands import TWO_STEPS, refusal, terrarium


def test_clips_longer_than_the_footage(footage: Dataset) -> None:
    options = as_options("video_tokenizer.clip_frames=21")
    said = refusal(terrarium("train", "--data", footage.path, "--run", "r", *options), 1)
    assert "needs clips of 21 frames, but the longest episode has 20" in said
    assert said.endswith("--set video_tokenizer.clip_frames=20")


def test_footage_of_a_size_that_can_not_be(tmp_path: Path) -> None:
    data = store_footage(tmp_path / "data", (36, 32)).path
    assert "--size" in refusal(terrarium("train", "--data", data, "--run", "r", *as_options()), 1)


LONG = ["--set", "dynamics.steps=2000"]  # long enough for a trial, which would take a minute


def test_what_can_not_begin_is_refused_before_the_trial(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "_try_all", None)  # not even called
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    odd = store_footage(tmp_path / "odd", (36, 32)).path
    short = store_footage(tmp_path / "short", frames=8).path
    for data, run, said in (
        (footage.path, "full", "is not empty and not a run: it holds 'thesis.txt'"),
        (footage.path, "full/thesis.txt", "thesis.txt is not a folder"),
        (footage.path, footage.path, "is not empty and not a run"),
        (odd, "r", "frames of 36x32, not multiples of 8"),
        (short, "r", "needs clips of 12 frames"),
    ):
        assert said in refusal(terrarium("train", "--data", data, "--run", run, *LONG), 1)
        assert not (tmp_path / "r").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_of_another_preset_the_first_differences_are_shown(copied: Path) -> None:
    said = refusal(terrarium("train", "--run", copied, "--preset", "base"), 1)
    assert "preset was 'quick', now 'base'; video_tokenizer.steps was 6, now 40000; " in said
    assert len(said) < 600
    assert re.search(r"; and \d+ more\. Resume with", said)


def test_another_configuration_is_shown_as_a_difference(copied: Path) -> None:
    said = refusal(terrarium("train", "--run", copied, *as_options("dynamics.steps=9")), 1)
    assert "dynamics.steps was 6, now 9" in said
    assert "seed" not in said
    assert "video_tokenizer.steps was 6, now" in refusal(
        terrarium("train", "--run", copied, "--preset", "base"), 1
    )


def test_a_second_launcher_is_told_who_is_first(copied: Path) -> None:
    with RunLock(copied):
        said = refusal(terrarium("train", "--run", copied), 1)
    assert "is being written by process" in said


def test_train_and_train_again(footage: Dataset, tmp_path: Path) -> None:
    words = ["train", "--data", str(footage.path), "--run", "r", *as_options(*TWO_STEPS)]
    result = terrarium(*words)
    assert result.exit_code == 0
    assert result.stdout == f"report: {tmp_path / 'r' / 'report.html'}\n"
    assert all(f"{name}  2/2  loss" in result.stderr for name in STAGES)
    assert json.loads((tmp_path / "r" / "run.json").read_text())["data"] == str(footage.path)
    again = terrarium(*words)
    assert again.exit_code == 0
    assert "loss" not in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_asked_to_end_it_exits_0_and_says_how_to_go_on(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = terminate_after(3)
    monkeypatch.setattr("terrarium.progress.ConsoleProgress", lambda: told)
    result = terrarium("train", "--data", footage.path, "--run", "r", *as_options())
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "SIGTERM at step 3 of video_tokenizer: saved" in told.lines[-1]
    assert "terrarium train --run r" in told.lines[-1]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert timeless(RunFolder.open(tmp_path / "r").stage("video_tokenizer"))[-1]["step"] == 2


def test_without_a_run_one_is_begun_in_results(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = terrarium("train", "--data", footage.path, *as_options(*TWO_STEPS))
    assert result.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    (run,) = (path for path in (tmp_path / "results").iterdir() if not path.is_symlink())
    assert (tmp_path / "results" / "latest").resolve() == run


def test_the_folder_of_another_launcher_is_left_to_it(tmp_path: Path) -> None:
    """One that took the lock while we were looking, and has not written anything yet."""
    with ExitStack() as theirs:
        with run_path(tmp_path / "r"):
            theirs.enter_context(RunLock(tmp_path / "r"))
        assert (tmp_path / "r" / ".lock").exists()
    with run_path(tmp_path / "s"), RunLock(tmp_path / "s"):
        pass
    assert not (tmp_path / "s").exists()


def test_freeze_says_what_is_pinned_and_how_to_go_on(copied: Path) -> None:
    result = terrarium("freeze", copied)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{name}: pinned {name}_step_6" for name in STAGES]
    assert f"go on with: terrarium train --run {copied}" in result.stderr
    assert terrarium("train", "--run", copied).exit_code == 0
    assert pinned(RunFolder.open(copied).stage("dynamics")) == {"dynamics_step_6": "frozen"}


def test_freeze_exits_1_where_there_is_nothing_to_fall_back_on(copied: Path) -> None:
    for name in STAGES[1:]:
        shutil.rmtree(copied / name)
    shutil.rmtree(copied / STAGES[0] / "checkpoints")
    result = terrarium("freeze", copied)
    assert result.stdout == "video_tokenizer: no whole checkpoint to pin\n"
    assert "has no whole checkpoint to fall back on" in refusal(result, 1)


def test_what_killed_writers_left_is_gone_after_the_next_start(copied: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    folders = copied, copied / "dynamics", copied / "dynamics" / "checkpoints"
    left = [folder / f".report.html.{dead.pid}.tmp" for folder in folders]
    alive = copied / f".scores.json.{os.getppid()}.tmp"
    for path in (*left, alive):
        path.write_bytes(b"half")
    assert terrarium("train", "--run", copied).exit_code == 0
    assert list(copied.rglob(".*.tmp")) == [alive]


def test_of_several_processes_the_first_names_the_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again by the launcher, whose store outlives them, they go on with it."""
    store = HashStore()
    monkeypatch.setattr(rendezvous, "store_of_launcher", lambda: store)
    monkeypatch.setenv("WORLD_SIZE", "2")
    paths = []
    for _ in range(2):
        with run_path(None) as path:
            path.mkdir(exist_ok=True)
            (path / "run.json").touch()
            paths.append(path)
    assert paths[0] == paths[1]
    monkeypatch.setenv("RANK", "1")
    with run_path(None):
        pass
    assert [entry.name for entry in (tmp_path / "results").iterdir()] == [paths[0].name]


def test_how_processes_share_the_work_may_change(copied: Path) -> None:
    """It is no part of what the run becomes."""
    result = terrarium("train", "--run", copied, "--set", "ranks.strategy=fsdp")
    assert result.exit_code == 0
    assert "loss" not in result.stderr, "it was trained already"
