from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_forgery import forge, state_bytes, with_nan, without, write_manifest
from run_samples import commit, make_stage, optimizer_of, weights
from safetensors.numpy import save

from terrarium.run.checkpoint import recover
from terrarium.run.folder import StageFolder
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge

W = weights(100)


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    return make_stage(tmp_path)


@pytest.fixture
def checkpoint(stage: StageFolder) -> Path:
    return commit(stage, 100)


NONSENSE: dict[str, dict[str, bytes | None]] = {
    "model.safetensors is empty": {"model": save({})},
    "not finite, in 'head.bias'": {"model": with_nan(W, "head.bias")},
    "ema.safetensors holds values that are not finite": {"ema": with_nan(W, "head.bias")},
    "not finite, in 'head.bias/exp_avg'": {"optimizer": with_nan(optimizer_of(W), "head.bias/exp_avg")},
    "lacks 'head.bias'": {"model": without(W, "head.bias")},
    "has too many 'extra'": {"model": save({**W, "extra": W["head.bias"]})},
    "'head.bias' differs; 'head.bias' is ('F64', (2,)), not ('F32', (2,))": {
        "model": save({**W, "head.bias": W["head.bias"].astype(np.float64)})
    },
    "ema.safetensors against the model: lacks 'embed.weight'": {"ema": without(W, "embed.weight")},
    "ema.safetensors against the model: 'head.bias' differs": {
        "ema": save({**W, "head.bias": W["head.weight"]})
    },
    "no state for 'head.bias/exp_avg_sq'": {"optimizer": without(optimizer_of(W), "head.bias/exp_avg_sq")},
    "no state for 'embed.weight/exp_avg', 'embed.weight/exp_avg_sq', 'embed.weight/step', "
    "'head.bias/exp_avg', 'head.bias/exp_avg_sq' and 4 more": {"optimizer": None},
    "what the model has not: 'gone/step'": {
        "optimizer": save({**optimizer_of(W), "gone/step": W["head.bias"]})
    },
    "'head.bias/exp_avg' of shape [1]": {
        "optimizer": save({**optimizer_of(W), "head.bias/exp_avg": np.zeros(1, np.float32)})
    },
}


@pytest.mark.parametrize("reason", NONSENSE)
def test_nonsense_is_found_at_l3(stage: StageFolder, checkpoint: Path, reason: str) -> None:
    older = commit(stage, 50)
    forge(checkpoint, **NONSENSE[reason])
    found = judge(checkpoint)
    assert (found.whole, found.level) == (False, 2)
    assert reason in found.reason
    best, passed_over = newest_valid(stage)
    assert (best, [each.reason for each in passed_over]) == (older, [found.reason])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step": 99}, "state.json says step 99, manifest.json 100"),
        ({"run_id": "otherrun"}, "state.json says run_id 'otherrun'"),
        ({"kind": "latent_actions"}, "state.json says kind 'latent_actions'"),
        ({"parameters": None}, "'parameters'"),
        ({"parameters": {"a": 3}}, "'parameters'"),
        ({"trained": None}, "'trained'"),
        ({"trained": [1]}, "'trained'"),
        ({"trained": ["ghost"]}, "calls trained what the model has not: 'ghost'"),
    ],
)
def test_a_state_that_contradicts_is_found_at_l3(
    checkpoint: Path, changes: dict[str, object], reason: str
) -> None:
    forge(checkpoint, state=state_bytes(checkpoint, **changes))
    found = judge(checkpoint)
    assert (found.whole, found.level, found.weights_whole) == (False, 2, True)
    assert reason in found.reason


def test_tensors_unlike_the_manifest_are_found_at_l2(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["tensors"]["ema.safetensors"]["head.bias"] = ["F32", [3]]
    write_manifest(checkpoint, manifest)
    found = judge(checkpoint)
    assert (found.level, found.whole) == (1, False)
    assert "ema.safetensors against manifest.json" in found.reason


def test_a_renamed_folder_is_found_at_l3(checkpoint: Path) -> None:
    found = judge(checkpoint.rename(checkpoint.with_name("dynamics_step_99999")))
    assert (found.level, found.step) == (2, 100)
    assert "dynamics_step_99999" in found.reason


def test_an_earlier_run_is_ignored_and_told(stage: StageFolder, checkpoint: Path, tmp_path: Path) -> None:
    stale = commit(make_stage(tmp_path / "earlier"), 99999)
    moved = Path(shutil.move(stale, stage.checkpoints_path))
    best, passed_over = newest_valid(stage)
    assert best == checkpoint
    assert [(each.path, each.foreign, each.weights_whole) for each in passed_over] == [(moved, True, False)]
    assert "belongs to the run" in passed_over[0].reason


def test_another_stage_is_refused(stage: StageFolder, checkpoint: Path) -> None:
    actions = StageFolder(stage.path.parent / "latent_actions", "latent_actions", stage.run_id).create()
    swapped = commit(actions, 200).rename(stage.checkpoint_path(200))
    found = judge(swapped, kind="dynamics", run_id=stage.run_id)
    assert (found.whole, found.foreign) == (False, False)
    assert found.reason == "is a checkpoint of latent_actions, not of dynamics"
    assert newest_valid(stage)[0] == checkpoint


def test_latest_never_names_what_is_not_finite(stage: StageFolder, checkpoint: Path) -> None:
    poisoned = commit(stage, 200)
    forge(poisoned, model=with_nan(weights(200), "head.bias"))
    assert (stage.checkpoints_path / "latest").read_text() == "dynamics_step_200\n"
    best, passed_over = recover(stage)
    assert (best, [each.path for each in passed_over]) == (checkpoint, [poisoned])
    assert (stage.checkpoints_path / "latest").read_text() == "dynamics_step_100\n"
