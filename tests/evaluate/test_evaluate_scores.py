"""The whole of `evaluate`: every promised key, the same twice, held-out footage alone, and odd footage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_samples import make_run, store_squares, tiny_config, untrained

from terrarium.data.dataset import Dataset, Episode
from terrarium.errors import CheckpointError, RunError
from terrarium.evaluate import evaluate
from terrarium.evaluate.controllability import score_controllability
from terrarium.evaluate.reconstruction import score_tokenizer
from terrarium.evaluate.rollouts import score_rollouts
from terrarium.run.folder import RunFolder, read_json, write_json

PROMISED = {
    "video_tokenizer": "psnr moving_psnr ssim codes_used copy_last_moving_psnr mean_frame_moving_psnr",
    "latent_actions": "accuracy majority_accuracy supervised_accuracy mutual_information codes_used "
    "shuffled_loss_ratio table action_names code_names",
    "dynamics": "delta_psnr_t4 rollout_psnr copy_last_psnr mean_frame_psnr",
    "play": "frames_per_second frames_per_second_without_decoding p99_ms median_ms context_frames threads",
}


def silent(line: str) -> None:
    assert line


def run_of(tmp_path: Path, lengths: tuple[int, ...], *, actions: bool = True) -> RunFolder:
    return make_run(tmp_path / "run", store_squares(tmp_path / "squares", lengths, actions=actions))


def nulls_without_reason(tree: dict[str, Any]) -> list[str]:
    """Keys that are null though nothing beside them says why."""
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            reasons = {k.removeprefix("reason_") for k in tree if k.startswith("reason_")}
            explained = {k: v for k, v in value.items() if k not in reasons}
            found += [f"{key}.{inner}" for inner in nulls_without_reason(explained)]
        elif value is None and not (tree.get("reason") or tree.get(f"{key}_reason")):
            found.append(key)
    return found


def test_every_promised_figure_is_there_and_written(tmp_path: Path) -> None:
    run = run_of(tmp_path, (30,) * 10)
    scores: Any = evaluate(run, progress=silent)
    assert read_json(run.path / "scores.json") == scores
    for group, keys in PROMISED.items():
        assert set(keys.split()) <= set(scores[group]), group
    assert set(scores["dynamics"]["delta_psnr_t4"]) >= {"mean", "low", "high"}
    assert set(scores["dynamics"]["rollout_psnr"]) == {"1", "4", "16"}
    assert nulls_without_reason(scores) == []
    assert scores["held_out"] == {"episodes": 2, "frames": 60}
    assert scores["checkpoints"]["dynamics"] == "dynamics_step_1"
    assert scores["play"]["p99_ms"] >= scores["play"]["median_ms"] > 0


def test_it_comes_out_the_same_twice(tmp_path: Path) -> None:
    run = run_of(tmp_path, (30,) * 10)
    first, second = evaluate(run, progress=silent), evaluate(run, progress=silent)
    assert first.pop("play")
    assert second.pop("play")
    assert first == second


@pytest.mark.parametrize(
    ("lengths", "actions"),
    [
        ((60,), True),
        ((5,) * 8, True),
        ((2,) * 6, True),
        ((1,) * 5, True),
        ((1,) * 5, False),
        ((30, 1, 2), False),
    ],
)
def test_odd_footage_gives_reasons_not_errors(
    tmp_path: Path, lengths: tuple[int, ...], actions: bool
) -> None:
    scores: Any = evaluate(run_of(tmp_path, lengths, actions=actions), progress=silent)
    assert nulls_without_reason(scores) == []
    assert isinstance(scores["video_tokenizer"]["psnr"], float)


def test_small_frames_have_no_ssim(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "squares")
    small = Dataset.open(dataset.path)
    small.held_out = tuple(replace(e, frames_THWC=e.frames_THWC[:, 8:16, 8:16]) for e in dataset.held_out)
    small.train = tuple(replace(e, frames_THWC=e.frames_THWC[:, 8:16, 8:16]) for e in dataset.train)
    figures = score_tokenizer(untrained(tiny_config(), 8, 8), small, 20)
    assert figures["ssim"] is None
    assert "smaller than the window" in str(figures["ssim_reason"])
    assert isinstance(figures["psnr"], float)


def poisoned(dataset: Dataset) -> Dataset:
    """The same held-out episodes beside training episodes of noise."""
    other = Dataset.open(dataset.path)
    noise = np.random.default_rng(0)

    def spoil(episode: Episode) -> Episode:
        shape = episode.frames_THWC.shape
        return replace(episode, frames_THWC=noise.integers(0, 256, shape, dtype=np.uint8))

    other.train = tuple(spoil(episode) for episode in other.train)
    return other


def test_no_training_frame_is_scored(tmp_path: Path) -> None:
    """Only what is fitted on training footage may change with it: here, the mean frame."""
    dataset = store_squares(tmp_path / "squares")
    models, spoilt = untrained(tiny_config()), poisoned(dataset)
    ours: Any = score_tokenizer(models, dataset, 40)
    theirs: Any = score_tokenizer(models, spoilt, 40)
    assert ours.pop("mean_frame_moving_psnr") != theirs.pop("mean_frame_moving_psnr")
    assert ours == theirs
    ours, theirs = (score_rollouts(models, footage, 6, (1, 4), 0) for footage in (dataset, spoilt))
    for name in ("mean_frame_psnr", "mean_frame_psnr_all"):
        assert ours.pop(name) != theirs.pop(name)
    assert ours == theirs
    assert score_controllability(models, dataset, 6, 0) == score_controllability(models, spoilt, 6, 0)


def test_held_out_frames_are_what_is_scored(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "squares")
    models, swapped = untrained(tiny_config()), poisoned(dataset)
    swapped.held_out, swapped.train = swapped.train, dataset.train
    assert score_tokenizer(models, dataset, 40)["psnr"] != score_tokenizer(models, swapped, 40)["psnr"]


def test_other_footage_is_refused_by_both_fingerprints(tmp_path: Path) -> None:
    run = run_of(tmp_path, (30,) * 10)
    other = store_squares(tmp_path / "others", (29,) * 10)
    write_json(run.path / "run.json", {**run.facts, "data": str(other.path)})
    with pytest.raises(RunError) as raised:
        evaluate(RunFolder.open(run.path), progress=silent)
    assert other.fingerprint in str(raised.value)
    assert str(run.facts["data_fingerprint"]) in str(raised.value)
    assert not (run.path / "scores.json").exists()


def test_a_stage_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path, (30,) * 10)
    for checkpoint in run.stage("dynamics").checkpoints_path.glob("dynamics_step_*"):
        (checkpoint / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="dynamics"):
        evaluate(run, progress=silent)
