"""Runs that are planned to be short: what is wrong must be seen before they are over."""

from __future__ import annotations

import numpy as np
import pytest

from terrarium.doctor.detectors.loss_chance import loss_worse_than_chance
from terrarium.doctor.evidence import Plan, StageEvidence
from terrarium.doctor.history import History

CHANCE = 6.9
# fmt: off
# the first losses of the dynamics of the quick preset at 500 times its learning rate, as they were logged
TOO_HIGH = (
    7.4, 8.6, 10.4, 10.4, 17.8, 20.7, 17.2, 12.6, 12.6, 10.6, 7.9, 7.7, 7.0, 7.8, 8.4, 7.7, 8.0,
    8.0, 7.9, 7.9, 7.6, 7.8, 7.4, 7.7, 7.7, 7.5, 7.3, 7.9, 7.2, 7.8, 7.5, 7.3, 7.1, 7.2, 7.2, 7.3,
    7.5, 7.6, 7.1, 8.4, 7.8, 7.6, 8.1, 7.2, 8.1, 7.8, 7.5, 9.5, 8.3, 8.7, 8.2, 9.3, 8.7, 9.3, 8.6,
    9.0, 8.1, 8.6, 8.3, 8.9, 10.3, 8.3, 10.9, 12.3, 11.0, 9.6, 10.8, 10.7, 9.2, 8.5, 8.1, 9.5, 9.1,
    10.2, 8.9, 8.4, 8.2, 9.7, 9.1, 9.3,
)
# fmt: on


def stage(losses: np.ndarray, planned: int) -> StageEvidence:
    steps = np.arange(losses.size, dtype=np.float64)
    rate = np.minimum(1.0, (steps + 1) / 51)
    history = History({"step": steps, "loss": losses, "learning_rate": rate, "runtime": steps})
    plan = Plan(steps=planned, codes=1000, warmup_steps=50, chance_levels={"chance": CHANCE})
    return StageEvidence("dynamics", plan=plan, history=history)


def test_a_short_run_is_told_to_be_worse_than_chance_early() -> None:
    assert list(loss_worse_than_chance(stage(np.array(TOO_HIGH[:75]), 700)))
    assert not list(loss_worse_than_chance(stage(np.array(TOO_HIGH[:75]), 300_000)))


def test_what_shot_up_in_the_first_steps_need_not_rise_again_to_be_seen() -> None:
    assert list(loss_worse_than_chance(stage(np.array(TOO_HIGH[:50]), 700)))
    without = np.minimum(TOO_HIGH[:50], 8.4)  # as high in the end, but it never was far above guessing
    assert not list(loss_worse_than_chance(stage(without, 700)))


@pytest.mark.parametrize("rows", [50, 60, 75, 100, 150])
def test_what_shot_up_and_comes_back_is_not(rows: int) -> None:
    steps = np.arange(rows)
    noise = np.exp(np.random.default_rng(rows).normal(0, 0.05, rows))
    back = (7 * np.exp(-steps / 60) + 20 * np.exp(-(((steps - 8) / 4) ** 2)) + 2) * noise
    assert not list(loss_worse_than_chance(stage(back, 700)))


@pytest.mark.parametrize("rows", [50, 60, 75, 100, 150])
def test_one_that_begins_above_chance_and_falls_is_not(rows: int) -> None:
    steps = np.arange(rows)
    noise = np.exp(np.random.default_rng(rows).normal(0, 0.05, rows))
    slow = (4 + 6 * np.exp(-steps / 80)) * noise
    assert not list(loss_worse_than_chance(stage(slow, 700)))


@pytest.mark.parametrize("rows", [60, 110, 200, 400])
def test_one_that_has_not_reached_guessing_yet_is_not(rows: int) -> None:
    """Footage on which little moves: the mean frame is hard to beat, and it takes some hundred steps."""
    noise = np.exp(np.random.default_rng(rows).normal(0, 0.05, rows))
    waiting = CHANCE * (1.2 + 3 * np.exp(-np.arange(rows) / 15)) * noise
    assert not list(loss_worse_than_chance(stage(waiting, 600)))


def test_falling_back_from_worse_is_still_worse() -> None:
    steps = np.arange(300)
    hill = 7.2 + 40 * np.exp(-(((steps - 150) / 60) ** 2))
    assert list(loss_worse_than_chance(stage(hill[:220], 700)))
