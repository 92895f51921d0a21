"""The figures of a stage, against ones worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.measures import loss_windows, stage_numbers, window_width
from terrarium.doctor.readers.jsonl import read_history
from terrarium.doctor.readers.plan import chance_levels, plan_of


def numbers_of(tmp_path: Path, rows: list[dict[str, Any]], config: dict[str, Any] | None = None) -> Any:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = plan_of("dynamics", [("config.json", config or {})])
    return stage_numbers(StageEvidence("dynamics", plan=plan, history=read_history(path)))


def test_figures_of_a_small_history(tmp_path: Path) -> None:
    losses = [4.0, 3.0, 2.0, 1.5, 1.0, 1.2]
    rows = [
        {"step": i, "runtime": 2.0 * i, "loss": loss, "accuracy": i / 10} for i, loss in enumerate(losses)
    ]
    numbers = numbers_of(tmp_path, rows, {"steps": 10, "chance_level": 6.9})
    assert numbers["rows"] == 6
    assert numbers["loss"] == {"first": 4.0, "last": 1.2, "min": 1.0, "max": 4.0, "median": 1.75}
    assert numbers["loss_thirds"] == pytest.approx([3.5, 1.75, 1.1])
    assert numbers["chance_levels"] == {"chance": 6.9}
    assert numbers["steps_per_second"] == pytest.approx(0.5)
    assert numbers["remaining_steps"] == 5
    assert numbers["eta_hours"] == pytest.approx(10 / 3600)
    assert numbers["measures"]["accuracy"]["last"] == 0.5


def test_recent_speed_sees_a_slowdown(tmp_path: Path) -> None:
    clock = np.concatenate([np.arange(1500), 1500 + 4.0 * np.arange(500)])
    rows = [{"step": i, "runtime": float(t), "loss": 1.0} for i, t in enumerate(clock)]
    numbers = numbers_of(tmp_path, rows)
    assert numbers["recent_steps"] == 500
    assert numbers["steps_per_second_recent"] == pytest.approx(0.25, rel=0.01)
    assert numbers["steps_per_second"] > 0.5


def test_a_clock_that_stands_still_gives_no_speed(tmp_path: Path) -> None:
    numbers = numbers_of(tmp_path, [{"step": i, "runtime": 5.0, "loss": 1.0} for i in range(5)], {"steps": 9})
    assert numbers["steps_per_second"] is None
    assert numbers["eta_hours"] is None


def test_non_finite_rows_do_not_reach_the_other_figures(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": None if i >= 6 else 1.0} for i in range(10)]
    numbers = numbers_of(tmp_path, rows)
    assert (numbers["not_finite_rows"], numbers["first_not_finite_step"]) == (4, 6)
    assert numbers["loss"]["last"] == 1.0
    assert numbers["loss_thirds"] == [1.0, 1.0, 1.0]


def test_rows_without_any_finite_loss(tmp_path: Path) -> None:
    numbers = numbers_of(tmp_path, [{"step": i, "loss": None} for i in range(3)])
    assert (numbers["loss"], numbers["loss_windows"], numbers["not_finite_rows"]) == (None, [], 3)


def test_windows_are_those_of_the_seed_report() -> None:
    steps = np.arange(50_344.0)
    windows = loss_windows(steps, steps / 1000)
    edges = [(window["first_step"], window["last_step"]) for window in windows]
    assert edges == [(0, 9999), (10_000, 19_999), (20_000, 29_999), (30_000, 39_999), (40_000, 50_343)]
    assert windows[0]["mean"] == pytest.approx(4.9995)


@pytest.mark.parametrize(
    ("steps", "width"), [(1, 1), (8, 1), (9, 2), (100, 20), (40_000, 5000), (10**6, 200_000)]
)
def test_window_widths_are_round(steps: int, width: int) -> None:
    assert window_width(steps) == pytest.approx(width)


def test_chance_levels_take_a_number_or_names_and_nothing_else() -> None:
    assert chance_levels({"chance_level": {"mean frame": 0.1, "broken": "x", "nan": float("nan")}}) == {
        "mean frame": 0.1
    }
    assert chance_levels({"chance_level": "high"}) == {}
    assert chance_levels({}) == {}


@pytest.mark.parametrize(("planned", "remaining"), [(6, 0), (5, 0), (7, 2)])
def test_nothing_remains_once_the_last_planned_step_is_there(
    tmp_path: Path, planned: int, remaining: int
) -> None:
    rows = [{"step": i, "loss": 1.0} for i in range(6)]
    assert numbers_of(tmp_path, rows, {"steps": planned})["remaining_steps"] == remaining


def test_a_clock_that_a_restart_sets_back_counts_on(tmp_path: Path) -> None:
    clock = [*range(0, 200, 2), *range(0, 200, 2)]
    numbers = numbers_of(tmp_path, [{"step": i, "runtime": t, "loss": 1.0} for i, t in enumerate(clock)])
    assert numbers["steps_per_second"] == pytest.approx(0.5)
    assert numbers["seconds"] == 2 * 198


def test_rows_taken_back_reach_no_figure_but_their_number(tmp_path: Path) -> None:
    steps = [*range(50), *range(20, 60)]
    rows = [{"step": i, "loss": 1.0 if place >= 50 or i < 20 else 9.0} for place, i in enumerate(steps)]
    numbers = numbers_of(tmp_path, rows)
    assert (numbers["rows"], numbers["loss"]["max"]) == (90, 1.0)


def test_huge_losses_do_not_warn(tmp_path: Path) -> None:
    numbers = numbers_of(tmp_path, [{"step": i, "loss": 1.7e308} for i in range(9)])
    assert numbers["loss"]["max"] == 1.7e308
