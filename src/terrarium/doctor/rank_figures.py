"""The figures of processes that trained together: plain facts, no judgement."""

from __future__ import annotations

import math

import numpy as np

from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.ranks import Stretch, Together


def rank_figures(together: Together | None) -> JsonObject | None:
    """What `report.json` says of the processes of a stage: of the steps with the number of them in the end.

    Returns:
        An object as `terrarium.doctor.schema.Ranks` describes it; None where one process trained alone.
    """
    if together is None:
        return None
    stretch = together.latest
    return {
        "count": stretch.count,
        "changes": len(together.stretches) - 1,
        "damaged_lines": together.damaged,
        "steps": int(stretch.steps_N.size),
        "first_step": int(stretch.steps_N[0]),
        "last_step": int(stretch.steps_N[-1]),
        "step_seconds": _known(stretch.step_seconds),
        "same_clips_steps": int(stretch.repeated_NR.any(axis=1).sum()),
        "by_rank": [_of_rank(stretch, rank) for rank in range(stretch.count)],
    }


def _of_rank(stretch: Stretch, rank: int) -> JsonObject:
    waiting = float(stretch.waiting_R[rank])
    busy = stretch.step_seconds * (1 - waiting)
    return {
        "rank": rank,
        "ready_seconds": _known(float(stretch.ready_R[rank])),
        "waiting_share": _known(waiting),
        "steps_per_second_alone": _known(1 / busy) if busy > 0 else None,
        "same_clips_steps": int(stretch.repeated_NR[:, rank].sum()),
        "clock_ahead_seconds": _known(float(stretch.skew_R[rank])),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ready_curves(stretch: Stretch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(steps [M], seconds until the fastest [M] and until the slowest [M] rank was ready), pauses cut off."""
    steps = stretch.steps_N[stretch.timed_M]
    return steps, stretch.usual_MR.min(axis=1), stretch.usual_MR.max(axis=1)
