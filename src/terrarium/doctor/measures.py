"""The figures of one stage, from its history and its configuration: plain facts, no judgement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.json_files import JsonObject, mapping, number

COMMON_COLUMNS = ("step", "runtime", "loss", "learning_rate", "grad_norm", "frames_per_second")
"""Columns that every stage logs; all others are the stage's own measures."""

MOST_WINDOWS = 8
RECENT_STEPS = 5000


def stage_numbers(stage: StageEvidence, asked: JsonObject) -> JsonObject:
    """The figures of one stage.

    Args:
        stage: what the stage left behind.
        asked: this stage's part of the run's configuration, or empty.

    Returns:
        name -> number, list or object; a figure that can't be made is left out or None. Losses have the unit
        that the stage logs; speeds are in steps and frames per second, times in seconds or (`*_hours`) hours.
    """
    numbers: JsonObject = {"planned_steps": planned_steps(stage.config, asked)}
    numbers["discarded_rows"] = sum(stage.discarded.values())
    numbers["discarded_reasons"] = stage.discarded
    numbers["chance_levels"] = chance_levels(stage.config)
    if stage.history is None or not stage.history.rows:
        return {"rows": 0} | numbers
    history = stage.history
    with np.errstate(all="ignore"):  # a mean of huge losses may overflow: the figure then says "inf"
        numbers = _row_numbers(history) | numbers
        numbers |= _loss_numbers(history) | _speed_numbers(history, numbers["planned_steps"])
        numbers["measures"] = {name: _spread(values) for name, values in own_measures(history).items()}
        for name in ("learning_rate", "grad_norm"):
            column = history.column(name)
            numbers[name] = None if column is None else _spread(column)
    return numbers


def planned_steps(config: JsonObject, asked: JsonObject) -> int | None:
    """Steps that were planned, as the stage's or the run's configuration says; None where neither does."""
    for source in (config, mapping(config.get("config")), asked):
        steps = number(source.get("steps"))
        if steps is not None and steps > 0:
            return int(steps)
    return None


def chance_levels(config: JsonObject) -> dict[str, float]:
    """Losses that guessing reaches, by name: the stage declares `chance_level`, a number or an object."""
    declared = config.get("chance_level")
    named = declared.items() if isinstance(declared, dict) else [("chance", declared)]
    levels = {str(name): number(value) for name, value in list(named)[:4]}
    return {name: value for name, value in levels.items() if value is not None}


def own_measures(history: History) -> dict[str, FloatArray]:
    """The stage's own measures: name -> values [rows]."""
    return {name: values for name, values in history.columns.items() if name not in COMMON_COLUMNS}


def _row_numbers(history: History) -> JsonObject:
    steps = history.steps
    return {
        "rows": history.rows,
        "damaged_lines": history.damaged,
        "first_step": int(steps[0]),
        "last_step": int(steps.max()),
        "rows_out_of_order": int(np.count_nonzero(np.diff(steps) <= 0)),
        "not_finite_rows": int(np.count_nonzero(history.not_finite.get("loss", ()))),
        "first_not_finite_step": _first_step(history),
    }


def _first_step(history: History) -> int | None:
    bad = np.flatnonzero(history.not_finite.get("loss", ()))
    return int(history.steps[bad[0]]) if bad.size else None


def _loss_numbers(history: History) -> JsonObject:
    loss = history.column("loss")
    if loss is None:
        return {"loss": None, "loss_thirds": [], "loss_windows": []}
    finite = np.isfinite(loss)
    return {
        "loss": _spread(loss),
        "loss_thirds": [float(third.mean()) for third in np.array_split(loss[finite], 3) if third.size],
        "loss_windows": loss_windows(history.steps[finite], loss[finite]),
    }


def _spread(values: FloatArray) -> dict[str, float]:
    """First, last, min, max and median of the finite values; the caller knows there is at least one."""
    finite = values[np.isfinite(values)]
    return {
        "first": float(finite[0]),
        "last": float(finite[-1]),
        "min": float(finite.min()),
        "max": float(finite.max()),
        "median": float(np.median(finite)),
    }


def loss_windows(steps: FloatArray, loss: FloatArray) -> list[dict[str, Any]]:
    """Mean and median loss by windows of a round number of steps, at most eight.

    A last window under half its width joins the one before: a handful of rows must not look like a trend.

    Args:
        steps: step of each row [rows].
        loss: finite loss of each row [rows].
    """
    width = window_width(steps.max() + 1)
    windows = np.floor_divide(steps, width)
    full = math.floor((steps.max() + 1) / width)
    if (steps.max() + 1) - full * width < width / 2:
        windows = np.minimum(windows, max(0, full - 1))
    found = []
    for window in np.unique(windows):
        inside = windows == window
        found.append(
            {
                "first_step": int(steps[inside].min()),
                "last_step": int(steps[inside].max()),
                "rows": int(np.count_nonzero(inside)),
                "mean": float(loss[inside].mean()),
                "median": float(np.median(loss[inside])),
            }
        )
    return found


def window_width(steps: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that cuts `steps` into at most eight windows."""
    scale = 10.0 ** math.floor(math.log10(max(steps, 1) / MOST_WINDOWS))
    return next(f * scale for f in (1, 2, 5, 10) if steps / (f * scale) <= MOST_WINDOWS) if steps > 8 else 1.0


def _speed_numbers(history: History, planned: int | None) -> JsonObject:
    steps, runtime = history.steps, history.column("runtime")
    overall = recent = seconds = None
    recent_steps = min(RECENT_STEPS, math.ceil(float(np.ptp(steps)) / 4))
    if runtime is not None:
        timed = np.isfinite(runtime)
        steps, runtime = steps[timed], runtime[timed]
        seconds = float(runtime.max() - runtime.min())
        overall = _speed(steps, runtime)
        late = steps >= steps.max() - recent_steps
        recent = _speed(steps[late], runtime[late])
    remaining = None if planned is None else max(0, planned - int(history.steps.max()) - 1)
    return {
        "seconds": seconds,
        "steps_per_second": overall,
        "steps_per_second_recent": recent,
        "recent_steps": recent_steps,
        **_frame_speeds(history, recent_steps),
        "remaining_steps": remaining,
        "remaining_hours": _hours(remaining, overall),
        "remaining_hours_recent": _hours(remaining, recent),
    }


def _speed(steps: FloatArray, runtime: FloatArray) -> float | None:
    """Steps per second between the first and the last row, or None where the clock did not move forward."""
    if steps.size < 2 or runtime[-1] <= runtime[0] or steps[-1] <= steps[0]:
        return None
    return float((steps[-1] - steps[0]) / (runtime[-1] - runtime[0]))


def _frame_speeds(history: History, recent_steps: int) -> JsonObject:
    frames = history.column("frames_per_second")
    if frames is None:
        return {"frames_per_second": None, "frames_per_second_recent": None}
    late = frames[(history.steps >= history.steps.max() - recent_steps) & np.isfinite(frames)]
    return {
        "frames_per_second": float(np.nanmedian(frames)),
        "frames_per_second_recent": float(np.median(late)) if late.size else None,
    }


def _hours(steps: int | None, speed: float | None) -> float | None:
    return None if steps is None or speed is None else steps / speed / 3600
