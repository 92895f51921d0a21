"""Scores as lines: floors beside figures, reasons where there is no figure."""

from __future__ import annotations

from typing import Any

import pytest
from doctor_samples import SCORES
from hypothesis import given, settings
from hypothesis import strategies as st

from terrarium.doctor.language import Language
from terrarium.doctor.scores import MEASURES, ScoreLine, action_table, rollout, score_groups

ENGLISH = Language.choose("en")


def line(scores: dict[str, Any], group: str, label: str) -> ScoreLine:
    return next(line for line in dict(score_groups(scores, ENGLISH))[group] if line.label == label)


def test_each_figure_stands_beside_its_floors() -> None:
    moving = line(SCORES, "video tokenizer", "Fidelity, moving pixels")
    assert moving.value == "24.91 dB"
    assert moving.floors == (("copied last frame", "18.02 dB"), ("mean frame", "16.40 dB"))
    accuracy = line(SCORES, "latent actions", "Action accuracy")
    assert accuracy.value == "52.1 %"
    assert ("most frequent action", "31.1 %") in accuracy.floors


def test_an_interval_is_told() -> None:
    delta = next(line for line in dict(score_groups(SCORES, ENGLISH))["dynamics"])
    assert delta.value == "0.93 dB (0.61 to 1.24)"


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"accuracy": None, "accuracy_reason": "no true actions."}, "Not measured: no true actions."),
        ({"accuracy": None, "reason": "nothing held out"}, "Not measured: nothing held out."),
        ({"accuracy": {"reason": "too few"}}, "Not measured: too few."),
        ({}, "Not measured: no reason given."),
    ],
)
def test_what_was_not_measured_says_why(group: dict[str, Any], words: str) -> None:
    accuracy = line({"latent_actions": group}, "latent actions", "Action accuracy")
    assert (accuracy.value, accuracy.measured, accuracy.words) == ("–", False, words)


def test_every_promised_key_has_a_line() -> None:
    known = {(measure.group, measure.key) for measure in MEASURES}
    promised = {(group, key) for group, figures in SCORES.items() for key in figures}
    shown_otherwise = {"table", "action_names", "extra", "rollout_psnr", "copy_last_psnr", "mean_frame_psnr"}
    floors = {(m.group, key) for m in MEASURES for _, key in m.floors if isinstance(key, str)}
    assert {pair for pair in promised if pair[1] not in shown_otherwise} == known | floors


def test_horizons_are_sorted_as_numbers() -> None:
    curve = rollout(
        {"dynamics": {"rollout_psnr": {"16": 1.0, "4": 2.0, "x": 3.0}, "copy_last_psnr": {"1": None}}}
    )
    assert curve is not None
    assert curve.horizons == (4, 16)
    assert curve.curves["model"] == (2.0, 1.0)
    assert curve.curves["copy_last"] == (None, None)


def test_the_action_table_shares_by_code() -> None:
    table = action_table(SCORES)
    assert table is not None
    assert table.actions == ("attack", "move left", "move right")
    assert table.rows[1][1] == pytest.approx((288, 288 / 348))
    assert table.rows[3] == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("table", [None, [], [1], [[]], [[1, 2], [1]], [[1, "x"]], [[1, -1]]])
def test_a_broken_table_is_left_out(table: Any) -> None:
    assert action_table({"latent_actions": {"table": table}}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted({key for figures in SCORES.values() for key in figures} | {"reason", "accuracy_reason"})
WILD = st.dictionaries(st.sampled_from(list(SCORES)), JSON | st.dictionaries(st.sampled_from(KEYS), JSON))


@settings(max_examples=100, deadline=None)
@given(scores=WILD)
def test_any_json_is_survived(scores: dict[str, Any]) -> None:
    groups = ("video_tokenizer", "latent_actions", "dynamics", "play")
    titles = [ENGLISH.stage(group) for group in groups if group in scores]
    assert [title for title, _ in score_groups(scores, ENGLISH)] == titles
    rollout(scores)
    action_table(scores)
