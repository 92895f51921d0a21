"""Training loss falls, validation loss rises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians, smooth, spread
from terrarium.doctor.statistics.change import find_change, turning_point
from terrarium.doctor.statistics.trend import mann_kendall

LEAST_POINTS = 8
LEAST_AFTER = 4
MOST_POINTS = 200
LEAST_RISE = 0.05  # of the validation loss
LEAST_SCORE = 5.0
LEAST_TREND = 2.5
SLACK = 0.02  # by how much the training loss may rise over the same steps


@dataclass(frozen=True)
class Turn:
    """A validation loss that turned up.

    Attributes:
        step: where.
        low: the loss there.
        last: the loss of its last points.
        score: the rise in standard errors.
        trend: Mann-Kendall's score since.
    """

    step: int
    low: float
    last: float
    score: float
    trend: float


def overfitting(stage: StageEvidence) -> Iterator[Finding]:
    """The validation loss rises while the training loss falls.

    Looks for: at least eight validation losses that have risen from their lowest level by 5 % or more, well
    beyond their own noise, persistently (Mann-Kendall), while the training loss did not rise over the same
    steps.

    Why it matters: the model learns the training data by heart; what it does on new data becomes worse with
    every further step.

    What to do: take the checkpoint nearest to the lowest validation loss; stop there, or use more data,
    augmentation, weight decay or dropout.

    Silent when: there is no validation loss or too few of them, the rise is within its noise or young, or the
    training loss rises too (then loss-diverging or loss-drifting-up tells more).
    """
    curve = loss_curve(stage)
    steps, losses = stage.series("validation_loss")
    turn = None if curve is None else _turn(steps, losses)
    if curve is None or turn is None:
        return
    then, now = _training(curve, turn.step)
    if now > then + SLACK:
        return
    last_step = int(steps[-1])
    values: dict[str, float | str] = {
        "low": turn.low,
        "low_step": turn.step,
        "last": turn.last,
        "last_step": last_step,
        "train_then": curve.back(then),
        "train_now": curve.back(now),
        "steps": last_step - turn.step,
    }
    if turn.low > 0:
        values["percent"] = 100 * (turn.last / turn.low - 1)
    first = float(np.median(losses[:3]))
    gone = (turn.last - turn.low) / (first - turn.low) if first > turn.low else 0.0
    yield Finding(
        "overfitting",
        Severity.CRITICAL if gone >= 0.5 and turn.last > 1.2 * turn.low > 0 else Severity.WATCH,
        stage.name,
        turn.step,
        last_step,
        (
            Number(stage.source, "validation loss, last points", turn.last, turn.low * (1 + LEAST_RISE)),
            Number(stage.source, "rise, in standard errors", turn.score, LEAST_SCORE),
        ),
        values,
        confidence=0.9 if now < then - SLACK else 0.7,
        actions=("stop-early-or-regularise",),
    )


def _turn(steps_V: FloatArray, losses_V: FloatArray) -> Turn | None:
    if losses_V.size < LEAST_POINTS:
        return None
    blocks = block_medians(losses_V, max(1, losses_V.size // MOST_POINTS))
    size = float(np.median(np.abs(losses_V)))
    if size <= 0:
        return None
    values = np.clip(blocks.medians / size, -1e6, 1e6)
    levels = smooth(values)
    least = int(np.argmin(levels))
    tail = max(2, values.size // 10)
    height = float(np.median(values[-tail:]) - levels[least])
    far = np.flatnonzero(levels[:least] > levels[least] + max(0.12 * height, 2 * spread(np.diff(values))))
    begin = int(far[-1]) + 1 if far.size else 0
    change = find_change(values[begin:], LEAST_AFTER)
    if change is None:
        return None
    place = begin + change.place
    after, before = values[place:], values[max(begin, place - max(3, tail)) : place + 1]
    low, last = float(np.median(before)), float(np.median(after[-tail:]))
    noise = max(change.noise * math.sqrt((1 + change.shared) / (1 - change.shared)), 1e-9)
    score = (last - low) / (noise * math.sqrt(1 / before.size + 1 / tail))
    trend = mann_kendall(after, change.shared)
    real = last - low >= LEAST_RISE * max(abs(low), 1e-9) and score >= LEAST_SCORE and trend >= LEAST_TREND
    if not real or after.size < LEAST_AFTER or after.size < 0.1 * values.size:
        return None
    turned = min(place, turning_point(values, begin))
    return Turn(int(steps_V[blocks.row(turned)]), low * size, last * size, score, trend)


def _training(curve: LossCurve, step: int) -> tuple[float, float]:
    """Levels of the training loss around a step, and at the end."""
    size = max(3 * curve.blocks.size, curve.count // 20)
    row = int(np.searchsorted(curve.steps, step))
    around = curve.level[max(0, row - size // 2) : row + size // 2 + 1]
    return (float(np.median(around)) if around.size else curve.last), float(np.median(curve.level[-size:]))
