"""Codebooks: are the codes used, and do they stay in use?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from terrarium.doctor.detectors.actions import (
    LONG_STEPS,
    actions_collapsed,
    codes_per_use,
    late_rows,
    tells,
)
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians
from terrarium.doctor.statistics.levels import find_shift

USAGE_LEFT = 0.33  # of the level that a codebook had reached
USAGE_GONE = 0.2
FEWEST_CODES = 8.0
LEAST_USAGE, MOST_USAGE = 0.01, 0.1  # between these, what `FEWEST_CODES` are of the codebook


def codebook_collapsed(stage: StageEvidence) -> Iterator[Finding]:
    """The codebook fell out of use.

    Looks for: a share of the codebook in use that had reached a level, fell to a third of it or less,
    and stayed there to the end. A usage of next to nothing that never was more, and does not grow, is
    only worth a look.

    Why it matters: unused codes carry no information. The model has to describe every frame with the few
    that are left, and the next stage learns from nothing else.

    What to do: go back to a checkpoint from before the fall; lower the learning rate, re-initialise
    unused codes from the encoder's outputs, or use a quantiser without a learned codebook (FSQ).

    Silent when: usage is low but steady, falls by less, dips only at the beginning while the encoder
    finds its scale, or is the number of actions under another name, which `actions-collapsed` judges.
    """
    steps, usage = stage.series("codebook_usage")
    if not tells(steps) or codes_per_use(stage) is not None or any(actions_collapsed(stage)):
        return
    late = usage[-late_rows(usage.size, 0.1, 50) :]
    level = float(np.median(late))
    settled = usage[max(min(50, usage.size // 5), usage.size // 20) :]
    shift = find_shift(usage)
    if shift is None:
        return
    width = max(min(25, settled.size // 8), settled.size // 40)
    had = float(np.quantile(block_medians(settled, width).medians, 0.96))
    fallen = level <= USAGE_LEFT * had and float(np.quantile(late, 0.9)) <= 0.5 * had
    if fallen and shift.after < 0.5 * shift.before and steps[shift.row] > steps[0]:
        severity = Severity.CRITICAL if level <= USAGE_GONE * had else Severity.WATCH
        yield _usage_finding(stage, severity, int(steps[shift.row]), level, had, USAGE_LEFT * had)
    elif _never_used(stage, usage):
        yield _usage_finding(stage, Severity.WATCH, int(steps[0]), level, had, _least_usage(stage))


def _never_used(stage: StageEvidence, usage: FloatArray) -> bool:
    """Whether next to nothing is used, never was, and use does not grow."""
    steps, _ = stage.series("codebook_usage")
    thirds = [float(np.median(third)) for third in np.array_split(usage, 3)]
    steady = max(thirds) <= _least_usage(stage) and thirds[2] < 1.5 * thirds[0] + 1e-12
    return steady and (usage.size >= 1000 or float(steps[-1]) >= LONG_STEPS)


def _least_usage(stage: StageEvidence) -> float:
    return float(np.clip(FEWEST_CODES / (stage.plan.codes or math.inf), LEAST_USAGE, MOST_USAGE))


def _usage_finding(
    stage: StageEvidence, severity: Severity, first_step: int, level: float, had: float, threshold: float
) -> Finding:
    steps, _ = stage.series("codebook_usage")
    return Finding(
        "codebook-collapsed",
        severity,
        stage.name,
        first_step,
        int(steps[-1]),
        (Number(stage.source, "codebook usage, median of the last tenth", level, threshold, "ratio"),),
        {"level": level, "first_step": first_step, "last_step": int(steps[-1])}
        | ({"had": had} if level < 0.5 * had else {}),
        confidence=0.9 if severity is Severity.CRITICAL else 0.6,
        actions=("revive-codebook",) if level > 0.5 * had else ("restart-from-checkpoint", "revive-codebook"),
    )
