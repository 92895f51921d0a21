"""What is drawn: few points, no words from files, colours of the page."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from terrarium.doctor.plots import (
    COLOURS,
    Plot,
    blocks,
    curve_plot,
    interval_plot,
    loss_plot,
    outline,
    pays_to_be_logarithmic,
    rollout_plot,
)
from terrarium.doctor.scores import Rollout

STEPS = np.arange(5000.0)
LOSS = 2 + np.sin(STEPS / 100)
NONE = np.zeros(0)


def test_blocks_are_medians_and_bounded() -> None:
    values = np.where(STEPS % 50 == 0, 1000.0, 2.0)
    middles, medians = blocks(STEPS, values)
    assert medians.size <= 120
    assert set(medians) == {2.0}
    assert (np.diff(middles) > 0).all()


def test_the_outline_keeps_every_extreme() -> None:
    values = LOSS.copy()
    values[1234] = 99.0
    values[77] = np.nan
    steps, line = outline(STEPS, values)
    assert line.size <= 2 * 450 + 2
    assert line.max() == 99.0
    assert steps.size == line.size


def test_few_rows_are_drawn_as_they_are() -> None:
    assert outline(STEPS[:10], LOSS[:10])[1].tolist() == LOSS[:10].tolist()
    assert blocks(STEPS[:10], LOSS[:10])[1].tolist() == LOSS[:10].tolist()


def test_log_axis_where_it_pays() -> None:
    assert pays_to_be_logarithmic(np.geomspace(0.15, 0.0015, 1000))
    assert not pays_to_be_logarithmic(np.linspace(7, 3, 1000))
    assert not pays_to_be_logarithmic(np.linspace(100, -1, 1000))


def drawn(plot: Plot) -> ET.Element:
    return ET.fromstring(plot.svg)  # noqa: S314 - our own drawing, parsed to see that it is well-formed


@pytest.mark.parametrize(
    "plot",
    [
        loss_plot(STEPS, LOSS, {"chance": 2.5}, np.array([3.0, 4000.0])),
        loss_plot(STEPS, np.geomspace(1, 1e-4, 5000), {"chance": -1.0, "far": 1e9}, NONE),
        loss_plot(STEPS[:2], np.array([np.nan, 1.0]), {}, STEPS[:1]),
        curve_plot("Learning rate", STEPS, LOSS * 0, "c"),
        curve_plot("Throughput", STEPS, np.where(STEPS == 0, 1e6, 100.0), "c"),
        curve_plot("Constant", STEPS[:1], LOSS[:1], "b"),
        rollout_plot(Rollout((1, 4), {"model": (20.0, None), "copied last frame": (None, None)})),
        interval_plot("ΔPSNR", -0.2, 0.1, 0.4),
        interval_plot("ΔPSNR", 0.0, 0.0, 0.0),
    ],
)
def test_drawings_are_whole_and_small(plot: Plot) -> None:
    drawn(plot)
    assert len(plot.svg) < 80_000
    assert not any(stand_in in plot.svg for stand_in in COLOURS)
    assert "#000000" not in plot.svg
    assert "var(--plot-a)" in plot.svg or "var(--plot-b)" in plot.svg or "var(--plot-c)" in plot.svg


def test_the_chance_level_is_drawn_only_where_it_is_in_reach() -> None:
    assert ("b", "chance level 2.5") in loss_plot(STEPS, LOSS, {"chance": 2.5}, NONE).legend
    assert all(key != "b" for key, _ in loss_plot(STEPS, LOSS, {"chance": 500.0}, NONE).legend)


def test_rows_that_are_not_finite_are_marked() -> None:
    assert "var(--plot-bad)" in loss_plot(STEPS, LOSS, {}, np.array([10.0])).svg
    assert "var(--plot-bad)" not in loss_plot(STEPS, LOSS, {}, NONE).svg
