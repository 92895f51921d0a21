"""What is drawn: few points, no words from files, colours of the page."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from terrarium.doctor.language import LANGUAGES, Language
from terrarium.doctor.plots import (
    Mark,
    Plot,
    blocks,
    curve_plot,
    interval_plot,
    loss_plot,
    outline,
    pays_to_be_logarithmic,
    rollout_plot,
    speeds,
)
from terrarium.doctor.scores import Rollout

STEPS = np.arange(5000.0)
LOSS = 2 + np.sin(STEPS / 100)
SAY = Language.choose("en").say
MARKS = (Mark("1", 1000, 4999, "critical"), Mark("2", 0, 0, "watch"))


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
        loss_plot(STEPS, LOSS, SAY, chance={"guessing": 2.5}, bad_steps=np.array([3.0, 4000.0]), marks=MARKS),
        loss_plot(STEPS, np.geomspace(1, 1e-4, 5000), SAY, chance={"guessing": -1.0, "far": 1e9}),
        loss_plot(STEPS[:2], np.array([np.nan, 1.0]), SAY, bad_steps=STEPS[:1]),
        loss_plot(
            STEPS, LOSS, SAY, windows=[(0, 2499, 2.0), (2500, 4999, 2.1)], validation=(STEPS[::9], LOSS[::9])
        ),
        curve_plot("Learning rate", STEPS, LOSS * 0, "c", SAY),
        curve_plot("Throughput", STEPS, np.where(STEPS == 0, 1e6, 100.0), "c", SAY, MARKS),
        curve_plot("Constant", STEPS[:1], LOSS[:1], "b", SAY),
        rollout_plot(Rollout((1, 4), {"model": (20.0, None), "copy_last": (None, None)}), SAY),
        interval_plot(-0.2, 0.1, 0.4, SAY),
        interval_plot(0.0, 0.0, 0.0, SAY),
    ],
)
def test_drawings_are_whole_small_and_in_the_colours_of_the_page(plot: Plot) -> None:
    drawing = ET.fromstring(plot.svg)  # noqa: S314 - our own drawing, parsed to see that it is well-formed
    assert len(plot.svg) < 80_000
    assert "nan" not in plot.svg
    assert "#" not in plot.svg  # colours come from style.css, by class
    kinds = {name for part in drawing.iter() for name in part.get("class", "").split()}
    assert kinds & {"a", "b", "c"}


def test_the_chance_level_is_drawn_only_where_it_is_in_reach() -> None:
    near, far = (loss_plot(STEPS, LOSS, SAY, chance={"guessing": level}) for level in (2.5, 500.0))
    assert [words for kind, words in near.legend if kind == "b dashed"] == ["guessing 2.5"]
    assert all(kind != "b dashed" for kind, _ in far.legend)


def test_rows_that_are_not_finite_are_marked() -> None:
    assert 'class="notch"' in loss_plot(STEPS, LOSS, SAY, bad_steps=np.array([10.0])).svg
    assert 'class="notch"' not in loss_plot(STEPS, LOSS, SAY).svg


def test_findings_are_marked_by_their_number_and_severity() -> None:
    svg = loss_plot(STEPS, LOSS, SAY, marks=MARKS).svg
    assert 'class="span critical"' in svg
    assert ">2</text>" in svg
    assert "span" not in loss_plot(STEPS, LOSS, SAY).svg


def test_speed_is_steps_over_the_clock() -> None:
    _, speed = speeds(STEPS, STEPS * 0.25)
    assert speed == pytest.approx(np.full(speed.size, 4.0))
    assert speeds(STEPS[:1], STEPS[:1])[1].size == 0


@pytest.mark.parametrize("code", LANGUAGES)
def test_legends_speak_the_language(code: str) -> None:
    language = Language.choose(code)
    plot = loss_plot(STEPS, LOSS, language.say, chance={"guessing": 2.5})
    assert plot.title == language.say("plots", "loss")
    assert [words for _, words in plot.legend][1] == language.say("plots", "median")
