"""Scores of latent actions: with codes that are right, without true actions, with shuffled codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_samples import ACTION_NAMES, Simulator, store_squares, tiny_config, untrained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from terrarium.data.dataset import Dataset
from terrarium.evaluate.actions import NEED_TRUTH, derange, score_actions, shuffled_loss_ratio

QUICK = settings(max_examples=30, deadline=None)
CONFIG = tiny_config().evaluate


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return store_squares(tmp_path_factory.mktemp("data") / "squares")


def test_codes_that_are_the_actions_score_in_full(squares: Dataset) -> None:
    figures: Any = score_actions(Simulator.make(), squares, CONFIG, 0)
    assert figures["accuracy"] == 1
    assert 0.2 < figures["majority_accuracy"] < 0.6
    assert figures["mutual_information"] > 0.9
    assert figures["codes_used"] == 3
    assert figures["action_names"] == list(ACTION_NAMES)
    assert figures["code_names"] == ["0 ~ STAY 100 %", "1 ~ LEFT 100 %", "2 ~ RIGHT 100 %", "3"]
    assert np.array(figures["table"]).sum() == figures["transitions"] == CONFIG.frames


def test_the_map_is_fitted_on_training_episodes(squares: Dataset) -> None:
    """In poisoned training episodes LEFT and RIGHT look swapped, so the map must be wrong held out."""
    poisoned = Dataset.open(squares.path)
    poisoned.train = tuple(
        replace(episode, frames_THWC=episode.frames_THWC[:, :, ::-1]) for episode in poisoned.train
    )
    figures: Any = score_actions(Simulator.make(), poisoned, CONFIG, 0)
    stays = np.array(figures["table"])[0].sum() / CONFIG.frames
    assert figures["accuracy"] == pytest.approx(stays)
    assert figures["mutual_information"] > 0.9  # of held-out footage, which is as it was


def test_footage_without_actions_gives_null_and_a_reason(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "mute", actions=False)
    figures = score_actions(Simulator.make(), dataset, CONFIG, 0)
    assert {key: figures[key] for key in NEED_TRUTH} == dict.fromkeys(NEED_TRUTH)
    assert figures["reason"] == "the footage has no true actions"
    assert figures["codes_used"] == 3
    assert isinstance(figures["shuffled_loss_ratio"], float)


def test_no_steps_for_the_inverse_model_is_a_reason(squares: Dataset) -> None:
    config = tiny_config("evaluate.inverse_model_steps=0").evaluate
    figures = score_actions(Simulator.make(), squares, config, 0)
    assert figures["supervised_accuracy"] is None
    assert figures["supervised_accuracy_reason"] == "evaluate.inverse_model_steps is 0"


def test_a_decoder_that_needs_its_codes_is_lost_without_them(
    squares: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = untrained(tiny_config())
    model = models.latent_actions

    def obedient(video_BTCHW: Tensor, signs_BTA: Tensor) -> Tensor:
        """Right where it is told the code that the encoder found, grey elsewhere."""
        true_B = model.encode(video_BTCHW[:, -2:])[1][:, 0]
        told_B = ((signs_BTA[:, -1] > 0) * model.quantizer.powers).sum(-1)
        right_B1111 = (true_B == told_B)[:, None, None, None, None]
        return torch.where(right_B1111, model.pool(video_BTCHW)[:, -1:] + 0.01, 0.5)

    monkeypatch.setattr(model, "predict", obedient)
    ratio = shuffled_loss_ratio(models, squares, 40, 0)["shuffled_loss_ratio"]
    assert isinstance(ratio, float)
    assert ratio > 10


def test_a_decoder_that_ignores_its_codes_has_a_ratio_of_one(
    squares: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = untrained(tiny_config())

    def copy_last(video_BTCHW: Tensor, signs_BTA: Tensor) -> Tensor:
        return models.latent_actions.pool(video_BTCHW)[:, -2:-1]

    monkeypatch.setattr(models.latent_actions, "predict", copy_last)
    assert shuffled_loss_ratio(models, squares, 40, 0)["shuffled_loss_ratio"] == 1


@QUICK
@given(count=st.integers(2, 50), seed=st.integers(0, 9))
def test_no_value_keeps_its_place(count: int, seed: int) -> None:
    moved = derange(np.arange(count), seed)
    assert sorted(moved.tolist()) == list(range(count))
    assert (moved != np.arange(count)).all()
