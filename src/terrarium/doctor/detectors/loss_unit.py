"""The unit of a loss: whole, or divided by the number of micro-batches of an update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.detectors.loss_chance import WORSE
from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.measures import loss_windows

MISFIT = 0.12  # of chance: noise of the first rows, and terms beside the cross-entropy
CLOSE_FIT = 0.04  # of chance: where no accumulation is known
LEAST, MOST, COMMON = 2, 64, (2, 4, 8)  # micro-batches of an update
FIRST_STEPS, FIRST_ROW = 10, 100  # of rows a hundred steps apart: by then little has been learnt


def _from_the_start(curve: LossCurve) -> bool:
    """Whether the history begins at the first steps, or with the first row that was due."""
    usual = float(np.median(np.diff(curve.steps)))
    return bool(curve.steps[0] <= max(FIRST_STEPS, min(usual, FIRST_ROW)))


def _first(loss_N: FloatArray, expected: float) -> float:
    """The first loss, or the level of the first few if that is nearer to what is expected."""
    candidates = [float(np.median(loss_N[:rows])) for rows in (5, 1, 20)]
    return min(candidates, key=lambda loss: abs(loss - expected))


@dataclass(frozen=True)
class Division:
    """How a logged loss was divided.

    Attributes:
        factor: by what.
        first: the first loss as logged.
        level: what guessing reaches, undivided.
        known_by: how that is known.
        sure: whether gradients are accumulated over just as many micro-batches.
    """

    factor: int
    first: float
    level: float
    known_by: str
    sure: bool


def _division(curve: LossCurve) -> Division | None:
    """How the loss was divided, or None where nothing says that it was."""
    if not curve.positive or not _from_the_start(curve) or curve.guessing is None:
        return None
    known_by, level = curve.guessing
    accumulated = curve.plan.gradient_accumulation_steps
    first = _first(curve.loss, level / (accumulated or 1))
    factor = round(level / first) if first > level / 100 else 0
    misfit = first * factor / level - 1
    at_once = curve.steps[0] <= FIRST_STEPS
    sure = factor == accumulated and abs(misfit) <= (MISFIT if at_once else MISFIT / 2)
    guessed_well = factor in COMMON and abs(misfit) <= CLOSE_FIT
    maybe = at_once and accumulated is None and known_by.startswith("ln ") and guessed_well
    if not LEAST <= factor <= MOST or not (sure or maybe):
        return None
    return Division(factor, first, level, known_by, sure)


def loss_unit(stage: StageEvidence) -> Iterator[Finding]:
    """The logged loss is an integer fraction of the real one.

    Looks for: a first loss that is what guessing reaches divided by a whole number from 2 to 64. If the
    configuration accumulates gradients over just as many micro-batches, there is little doubt: the loss was
    logged after it was divided for the accumulation.

    Why it matters: every figure of the run is too small by that factor, and a loss that looks better than
    guessing may be worse.

    What to do: log the loss before dividing it, and read the old rows multiplied.

    Silent when: no chance level is known, the history does not begin at the first steps or with the first row
    of one in every hundred, or the first loss fits chance as it is. Without known accumulation only 2, 4 and
    8 are considered, and only a close fit.
    """
    curve = loss_curve(stage)
    division = None if curve is None else _division(curve)
    if curve is None or division is None:
        return
    first, factor, level = division.first, division.factor, division.level
    true = loss_windows(curve.steps, curve.loss * factor)
    hidden = first < level and curve.back(curve.last) * factor > WORSE * level
    yield Finding(
        "loss-unit",
        Severity.WATCH if division.sure and hidden else Severity.INFO,
        stage.name,
        curve.step(0),
        curve.step(curve.count - 1),
        (Number(stage.source, "first loss times the factor", first * factor, level),),
        {
            "factor": factor,
            "first": first,
            "true_first": first * factor,
            "chance": level,
            "known_by": division.known_by,
            "true_window": true[0]["mean"],
            "true_last_window": true[-1]["mean"],
            "window_end": true[0]["last_step"],
        },
        confidence=0.95 if division.sure else 0.4,
        cause="divided-by-accumulation" if division.sure else "",
        actions=("divide-by-accumulation",),
    )
