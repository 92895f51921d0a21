"""The supervised ceiling: it learns what can be learnt, and nothing else."""

from __future__ import annotations

import pytest
import torch
from evaluation_samples import store_squares

from terrarium.data.dataset import Dataset
from terrarium.data.places import spread_places
from terrarium.evaluate.inverse_model import InverseModel, supervised_accuracy


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return store_squares(tmp_path_factory.mktemp("data") / "squares", (60,) * 10)


def accuracy(dataset: Dataset, steps: int, seed: int = 0) -> float:
    places = spread_places(dataset.held_out, 2, 100)
    cpu = torch.device("cpu")
    return supervised_accuracy(dataset.train, places, 3, steps=steps, seed=seed, device=cpu)


def test_it_learns_actions_that_can_be_seen(squares: Dataset) -> None:
    assert accuracy(squares, 60) > 0.95


def test_it_is_seeded_and_leaves_the_callers_random_state_alone(squares: Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = accuracy(squares, 3)
    assert torch.equal(torch.rand(4), expected)
    assert accuracy(squares, 3) == first


@pytest.mark.parametrize("size", [(8, 8), (64, 96), (128, 128)])
def test_it_takes_frames_of_any_size(size: tuple[int, int]) -> None:
    pairs = torch.zeros(2, 2, 3, *size)
    assert InverseModel(5)(pairs).shape == (2, 5)
