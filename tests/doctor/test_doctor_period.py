"""Periods: found at their true length, also where the trend took most of their first tone away."""

from __future__ import annotations

import numpy as np
import pytest

from terrarium.doctor.statistics.period import find_period


@pytest.mark.parametrize("repeats", [11, 14, 20, 45])
def test_a_sawtooth_is_found_at_its_length_and_not_at_that_of_an_overtone(repeats: int) -> None:
    rows = np.arange(3000)
    noise = np.random.default_rng(repeats).normal(0, 0.05, rows.size)
    falling = 2 * np.exp(-rows / 400)
    period = find_period(falling + 0.4 * (rows * repeats / rows.size % 1) + noise)
    assert period is not None
    assert period.repeats == pytest.approx(repeats, rel=0.02)
    assert period.height > 0.25
    assert period.likeness > 0.9


def test_a_sine_has_no_overtones_and_noise_no_period() -> None:
    rows = np.arange(3000)
    noise = np.random.default_rng(3).normal(0, 0.05, rows.size)
    assert find_period(noise) is None
    sine = find_period(np.sin(rows / 20) + noise)
    assert sine is None or sine.overtones < 0.12
