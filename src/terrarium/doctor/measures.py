"""The figures of one stage, from its history and configuration: plain facts, no judgement."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.pace import RECENT_STEPS

COMMON_COLUMNS = (
    "step",
    "runtime",
    "loss",
    "learning_rate",
    "grad_norm",
    "frames_per_second",
    "process_memory",
    "memory_left",
    "device_use",
)
"""Columns that every stage logs; all others are the stage's own measures."""

MOST_WINDOWS = 8


def stage_numbers(stage: StageEvidence) -> JsonObject:
    """The figures of one stage.

    Returns:
        name -> number, list or object; a figure that can't be computed is left out or None. Losses have the
        unit that the stage logs; speeds are in steps and frames per second, times in seconds or (`*_hours`)
        hours. Rows that a restart took back are counted as rows, but not used otherwise.
    """
    numbers: JsonObject = {
        "planned_steps": stage.plan.steps,
        "discarded_rows": sum(stage.discarded.values()),
        "discarded_reasons": stage.discarded,
        "chance_levels": stage.plan.chance_levels,
    }
    if stage.history is None or not stage.history.rows:
        return {"rows": 0} | numbers
    kept = stage.kept
    with np.errstate(all="ignore"):  # a mean of huge losses may overflow: the figure then says "inf"
        numbers = _row_numbers(stage.history) | numbers
        numbers |= _loss_numbers(kept) | _speed_numbers(kept, stage.plan.steps)
        numbers["measures"] = {name: _spread(values) for name, values in own_measures(kept).items()}
        for name in ("learning_rate", "grad_norm", "device_use"):
            column = kept.column(name)
            numbers[name] = None if column is None or not np.isfinite(column).any() else _spread(column)
    return numbers


def own_measures(history: History) -> dict[str, FloatArray]:
    """The stage's own measures: name -> values [rows], with at least one finite value each."""
    return {
        name: values
        for name, values in history.columns.items()
        if name not in COMMON_COLUMNS and np.isfinite(values).any()
    }


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
    if loss is None or not np.isfinite(loss).any():
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

    A last window of less than half the width is merged with the one before, so that a few rows don't look
    like a trend.

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
    steps, runtime = history.series("runtime")
    recent_steps = min(RECENT_STEPS, math.ceil(float(np.ptp(history.steps)) / 4))
    late = steps >= steps.max(initial=0) - recent_steps
    overall, recent = speed(steps, runtime), speed(steps[late], runtime[late])
    remaining = _remaining(int(history.steps.max()), planned)
    return {
        "seconds": float(_forward(runtime).sum()) if runtime.size else None,
        "steps_per_second": overall,
        "steps_per_second_recent": recent,
        "recent_steps": recent_steps,
        **_frame_speeds(history, recent_steps),
        "remaining_steps": remaining,
        "eta_hours": _hours(remaining, overall),
        "eta_hours_recent": _hours(remaining, recent),
    }


def _remaining(last_step: int, planned: int | None) -> int | None:
    """Steps to go, counted from the last step logged; none once the plan's last step (from 0) is there."""
    if planned is None:
        return None
    return 0 if last_step + 1 >= planned else planned - last_step


def speed(steps: FloatArray, runtime: FloatArray) -> float | None:
    """Steps per second of the rows [rows], or None if the clock never moved forward.

    Where a restart set the clock back, counting starts again.
    """
    seconds = _forward(runtime)
    taken = float(np.diff(steps)[np.diff(runtime) > 0].sum())
    return taken / float(seconds.sum()) if seconds.size and taken > 0 else None


def _forward(runtime: FloatArray) -> FloatArray:
    gaps = np.diff(runtime)
    return np.asarray(gaps[gaps > 0], dtype=np.float64)


def _frame_speeds(history: History, recent_steps: int) -> JsonObject:
    frames = history.column("frames_per_second")
    if frames is None or not np.isfinite(frames).any():
        return {"frames_per_second": None, "frames_per_second_recent": None}
    late = frames[(history.steps >= history.steps.max() - recent_steps) & np.isfinite(frames)]
    return {
        "frames_per_second": float(np.nanmedian(frames)),
        "frames_per_second_recent": float(np.median(late)) if late.size else None,
    }


def _hours(steps: int | None, speed: float | None) -> float | None:
    return None if steps is None or speed is None else steps / speed / 3600
