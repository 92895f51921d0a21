from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from terrarium.data.dataset import Dataset
from terrarium.errors import CheckpointError
from terrarium.run.folder import STAGES
from terrarium.train.saver import commit
from terrarium.train.state import TrainState, describe_model, seed_step
from terrarium.train.step import train_step
from tiny_training import make_folder, make_stage
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")


def assert_equal_models(one: nn.Module, other: nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert value.dtype == theirs[key].dtype
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize("name", STAGES)
def test_saved_and_loaded_bit_for_bit(name: str, footage: Dataset, tmp_path: Path) -> None:
    config, folder = tiny_config(), make_folder(tmp_path / "run", name)
    stage = make_stage(name, footage, tmp_path, config)
    state = TrainState.begin(stage.model, stage.config)
    for step in range(3):
        train_step(state, stage, stage.to_inputs(stage.batches.batch(step)), config)
    commit(state.snapshot(), folder, keep=1)

    fresh_stage = make_stage(name, footage, tmp_path, tiny_config("seed=5"))
    fresh = TrainState.begin(fresh_stage.model, fresh_stage.config)
    fresh.load(folder, 3)
    assert fresh.step == 3
    assert_equal_models(fresh.model, state.model)
    assert_equal_models(fresh.average, state.average)
    assert not any(parameter.requires_grad for parameter in fresh.average.parameters())
    for parameter, mine in zip(fresh.model.parameters(), state.model.parameters(), strict=True):
        slots, expected = fresh.optimizer.state[parameter], state.optimizer.state[mine]
        assert slots.keys() == expected.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(slots[key], expected[key]) for key in slots)
        assert slots["step"] == 3
        assert parameter.requires_grad

    # and the next step is the same step
    rows = [
        train_step(each, stage, stage.to_inputs(stage.batches.batch(3)), config) for each in (state, fresh)
    ]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert_equal_models(fresh.model, state.model)
    assert_equal_models(fresh.average, state.average)


class Counted(nn.Module):
    """One weight and one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))
        self.count: torch.Tensor


def test_the_average_follows_fast_at_first_and_slowly_later() -> None:
    config = tiny_config("video_tokenizer.ema_decay=0.9").video_tokenizer
    model = Counted()
    state = TrainState.begin(model, config)
    with torch.no_grad():
        model.weight.fill_(1)
        model.count.fill_(3)
    followed = 0.0
    for step, share in ((0, 0.9), (10, 1 - 11 / 20), (1000, 0.1)):
        state.step = step
        state.update_average(config.ema_decay)
        followed += (1 - followed) * share
        assert dict(state.average.named_parameters())["weight"].item() == pytest.approx(followed, rel=1e-5)
        assert dict(state.average.named_buffers())["count"].item() == 3  # no average: a copy
    assert model.weight.item() == 1


def test_a_checkpoint_of_another_model_is_refused_before_anything_changes(
    footage: Dataset, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    small, large = (
        TrainState.begin(stage.model, stage.config)
        for width in (8, 16)
        for stage in [
            make_stage("video_tokenizer", footage, tmp_path, tiny_config(f"video_tokenizer.width={width}"))
        ]
    )
    config = tiny_config()
    stage = make_stage("video_tokenizer", footage, tmp_path, config)
    train_step(small, stage, stage.to_inputs(stage.batches.batch(0)), config)
    commit(small.snapshot(), folder, keep=1)
    before = {key: value.clone() for key, value in large.model.state_dict().items()}
    with pytest.raises(CheckpointError, match="another shape"):
        large.load(folder, 1)
    assert all(torch.equal(value, before[key]) for key, value in large.model.state_dict().items())
    assert large.step == 0


def test_a_model_is_described_by_its_tensors() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False))
    described = describe_model(model)
    assert described["parameters"] == {
        "0.weight": ["float32", [3, 2]],
        "0.bias": ["float32", [3]],
        "1.running_mean": ["float32", [3]],
        "1.running_var": ["float32", [3]],
        "1.num_batches_tracked": ["int64", []],
    }
    assert described["trained"] == ["0.weight", "0.bias"]


def test_each_step_of_each_stage_has_its_own_randomness() -> None:
    def drawn(seed: int, stage: str, step: int) -> float:
        seed_step(seed, stage, step)
        return torch.rand(()).item()

    places = [(s, n, k) for s in (0, 1, 2**32 - 1) for n in STAGES for k in (0, 1, 10**6)]
    assert [drawn(*place) for place in places] == [drawn(*place) for place in places]
    assert len({drawn(*place) for place in places}) == len(places)
