from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from run_samples import commit, flip_last, make_stage, sample_files, sample_state, saved_steps, weights
from safetensors.numpy import save

from terrarium.errors import CheckpointError
from terrarium.run.checkpoint import commit_checkpoint, read_files, read_state
from terrarium.run.folder import StageFolder
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    return make_stage(tmp_path)


def everything(stage: StageFolder) -> list[str]:
    """All names but those of states that were refused and put aside."""
    names = (path.name for path in stage.checkpoints_path.iterdir())
    return sorted(name for name in names if not name.startswith(".refused-"))


def test_what_is_committed_is_read_back(stage: StageFolder) -> None:
    path = commit(stage, 100)
    assert path == stage.checkpoint_path(100)
    assert read_files(path) == sample_files(100)
    state = read_state(path)
    assert {"format": 1, "kind": "dynamics", "step": 100, "run_id": stage.run_id}.items() <= state.items()
    assert state.items() >= sample_state(100).items()
    assert everything(stage) == ["dynamics_step_100", "latest"]
    assert (stage.checkpoints_path / "latest").read_text() == "dynamics_step_100\n"
    assert newest_valid(stage) == (path, [])


def test_manifest_says_all(stage: StageFolder) -> None:
    manifest = json.loads((commit(stage, 100) / "manifest.json").read_text())
    assert set(manifest) == {"format", "kind", "step", "run_id", "created", "files", "tensors", "sha256"}
    assert set(manifest["files"]) == {*sample_files(), "state.json"}
    assert manifest["tensors"]["model.safetensors"]["head.bias"] == ["F32", [2]]


def test_steps_are_sorted_as_numbers(stage: StageFolder) -> None:
    for step in (9, 100, 20):
        commit(stage, step)
    (stage.checkpoints_path / "latent_actions_step_500").mkdir()
    (stage.checkpoints_path / "dynamics_step_best").mkdir()
    assert saved_steps(stage) == [9, 20, 100]


def poisoned() -> bytes:
    arrays = weights()
    arrays["head.weight"][1, 1] = np.inf
    return save(dict(arrays))


REFUSED = {
    "model.safetensors is empty": {"model.safetensors": save({})},
    "model.safetensors holds values that are not finite, in 'head.weight'": {"model.safetensors": poisoned()},
    "ema.safetensors holds values that are not finite": {"ema.safetensors": poisoned()},
    "model.safetensors is not a safetensors file": {"model.safetensors": b"PK\x03\x04"},
    "names the file '../evil.safetensors'": {"../evil.safetensors": save(dict(weights()))},
    "names the file 'model.pt'": {"model.pt": save(dict(weights()))},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_before_anything_is_visible(stage: StageFolder, reason: str) -> None:
    commit(stage, 1)
    before = everything(stage)
    with pytest.raises(CheckpointError, match=reason.replace(".", r"\.")):
        commit_checkpoint(stage, 2, {**sample_files(), **REFUSED[reason]}, state=sample_state(), keep=1)
    assert everything(stage) == before
    assert not (stage.checkpoints_path.parent / "evil.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": {}}, "has too many 'embed.weight'"),
        ({"trained": ["ghost"]}, "ghost"),
        ({"step": 3}, "the state says step 3"),
        ({"best_loss": float("nan")}, "'best_loss'"),
        ({"generator": object()}, "'generator'"),
    ],
)
def test_a_state_that_can_not_be_is_refused(
    stage: StageFolder, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        commit_checkpoint(stage, 2, sample_files(), state={**sample_state(), **changes}, keep=1)
    assert everything(stage) == []


def test_impossible_arguments(stage: StageFolder) -> None:
    with pytest.raises(CheckpointError, match="keep is 0"):
        commit(stage, 1, keep=0)
    for step in (-1, 10**15):
        with pytest.raises(CheckpointError, match="is not the step"):
            commit(stage, step, seed=0)
    with pytest.raises(CheckpointError, match="no state for"):
        commit_checkpoint(
            stage, 1, {"model.safetensors": save(dict(weights()))}, state=sample_state(), keep=1
        )
    assert everything(stage) == []


def test_weights_alone_are_a_checkpoint_where_nothing_is_trained(stage: StageFolder) -> None:
    files = {"model.safetensors": save(dict(weights()))}
    assert judge(commit_checkpoint(stage, 1, files, state={**sample_state(), "trained": []}, keep=1)).whole


def test_a_full_disk_is_seen_before_writing(stage: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(stage, 1, keep=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 4321, 4321))
    with pytest.raises(CheckpointError, match=r"needs 1,05\d,\d{3} bytes, and 4,321 are free") as caught:
        commit(stage, 2, keep=1)
    assert "free some space" in caught.value.next_step
    assert saved_steps(stage) == [1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["os.fsync", "os.mkdir", "os.rename", "pathlib.Path.open"])
@pytest.mark.parametrize("keep", [1, 3])
def test_a_failing_disk_leaves_what_was(
    stage: StageFolder, monkeypatch: pytest.MonkeyPatch, number: int, call: str, keep: int
) -> None:
    old = commit(stage, 1)

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context:
        context.setattr(call, fail)
        with pytest.raises(CheckpointError, match=os.strerror(number)):
            commit(stage, 2, keep=keep)
    assert everything(stage) == ["dynamics_step_1", "latest"]
    assert newest_valid(stage) == (old, [])
    assert commit(stage, 2).is_dir()


def test_an_interrupt_leaves_no_half(stage: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            commit(stage, 1)
    assert everything(stage) == []


def test_a_disk_that_lies_is_found_out(stage: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_less(path: Path, content: bytes) -> None:
        path.write_bytes(flip_last(content) if path.suffix == ".safetensors" else content)

    commit(stage, 1)
    with monkeypatch.context() as context:
        context.setattr("terrarium.run.disk.write_durably", write_less)
        with pytest.raises(CheckpointError, match="gives back other bytes"):
            commit(stage, 2)
    assert everything(stage) == ["dynamics_step_1", "latest"]


def test_trouble_after_the_rename_does_not_undo_a_checkpoint(
    stage: StageFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("terrarium.run.disk.write_atomically", fail)
    with caplog.at_level(logging.WARNING):
        path = commit(stage, 1)
    assert newest_valid(stage) == (path, [])
    assert "No space left" in caplog.text


def test_reading_what_was_changed(stage: StageFolder) -> None:
    path = commit(stage, 1)
    (path / "state.json").write_bytes(b"x" * (path / "state.json").stat().st_size)
    with pytest.raises(CheckpointError, match=r"state\.json does not match its sha256"):
        read_state(path)
    assert read_files(path) == sample_files(1)
    (path / "ema.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"ema\.safetensors can't be read"):
        read_files(path)
    with pytest.raises(CheckpointError, match=r"manifest\.json can't be read"):
        read_state(path.with_name("nothing"))
