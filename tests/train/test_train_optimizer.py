from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from terrarium.config import StageConfig
from terrarium.train.optimizer import learning_rate_at, make_optimizer, set_learning_rate
from tiny_world import tiny_config


def config(steps: int = 100, warmup: int = 9, cooldown: float = 0.25, rate: float = 1e-3) -> StageConfig:
    return tiny_config(
        f"dynamics.steps={steps}",
        f"dynamics.warmup_steps={warmup}",
        f"dynamics.cooldown={cooldown}",
        f"dynamics.learning_rate={rate}",
    ).dynamics


def test_it_warms_up_stays_and_cools_down() -> None:
    rates = [learning_rate_at(step, config()) for step in range(100)]
    rising, level, falling = rates[:9], rates[9:76], rates[76:]
    torch.testing.assert_close(rising, [1e-4 * (step + 1) for step in range(9)])
    assert set(level) == {1e-3}
    torch.testing.assert_close(falling, [1e-3 * left / 25 for left in range(24, 0, -1)])


@given(
    steps=st.integers(1, 10_000),
    warmup=st.integers(0, 20_000),
    cooldown=st.floats(0, 1),
    where=st.floats(0, 1, exclude_max=True),
)
def test_any_schedule_stays_between_nothing_and_its_rate(
    steps: int, warmup: int, cooldown: float, where: float
) -> None:
    rate = learning_rate_at(int(where * steps), config(steps, warmup, cooldown))
    assert 0 < rate <= 1e-3


def test_every_group_gets_the_rate_and_it_is_read_back() -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), config())
    assert set_learning_rate(optimizer, 0.125) == 0.125
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.RMSNorm(3), nn.Conv2d(1, 1, 3))
    model[0].weight.requires_grad_(False)
    optimizer = make_optimizer(model, tiny_config("dynamics.weight_decay=0.5").dynamics)
    groups = {group["weight_decay"]: group["params"] for group in optimizer.param_groups}
    assert set(groups) == {0.5, 0.0}
    assert [p.ndim for p in groups[0.5]] == [4]
    assert [p.ndim for p in groups[0.0]] == [1, 1, 1]
