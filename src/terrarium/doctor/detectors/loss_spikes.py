"""Losses that shoot up: for some rows, or to a new level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.detectors.loss_detours import LEAST_SCALES, LEAST_SPIKE, Detour, find_detour
from terrarium.doctor.detectors.loss_restarts import rate_raised, resumes
from terrarium.doctor.detectors.loss_rise import LEAST_RISE, TALL, Rise, Way, loss_rise, overshoots
from terrarium.doctor.detectors.loss_trend import rise_confidence, rise_values
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.statistics.blocks import spread

LEAST_TAILS = 3.0  # times what one row in two hundred exceeds
TOGETHER = 25  # rows; closer ones are one spike
SEGMENTS = 20
SEGMENT_ROWS = 200


@dataclass(frozen=True)
class Spikes:
    """Rows that shoot up and come back.

    Attributes:
        count: how many.
        row: of the highest.
        height: of the highest, above the curve, on the scale of `LossCurve.level`.
        first: row of the first one.
        last: row of the last one.
        threshold: height that counts as a spike, at the highest.
    """

    count: int
    row: int
    height: float
    first: int
    last: int
    threshold: float


def find_spikes(curve: LossCurve) -> Spikes | None:
    """The spikes after the first twentieth of the rows that are over, or None."""
    rest, begin = curve.rest, max(curve.warm, curve.count // 20)
    segments = int(np.clip(rest.size // SEGMENT_ROWS, 1, SEGMENTS))
    limits = np.concatenate([np.full(part.size, _limit(part)) for part in np.array_split(rest, segments)])
    rows = np.flatnonzero(rest > limits)
    rows = rows[(rows >= begin) & (rows < rest.size - TOGETHER)]
    if not rows.size:
        return None
    highest = int(rows[np.argmax(rest[rows])])
    count = 1 + int(np.count_nonzero(np.diff(rows) > TOGETHER))
    return Spikes(count, highest, float(rest[highest]), int(rows[0]), int(rows[-1]), float(limits[highest]))


def _limit(rest_M: np.ndarray) -> float:
    tail = float(np.quantile(np.abs(rest_M), 0.99)) if rest_M.size >= SEGMENT_ROWS // 2 else 0.0
    return max(LEAST_SPIKE, LEAST_SCALES * spread(rest_M), LEAST_TAILS * tail)


def loss_spike(stage: StageEvidence) -> Iterator[Finding]:
    """The loss shoots up: it comes back, or stays at a new level.

    Looks for: single rows far above the curve (at least half as much again, ten robust standard deviations,
    and three times the usual outliers), which come back: information. And for a level that moves up at once
    and stays, or is back only after a tenth of the run: watch; critical where a spike began it, it is not
    back, and much of what had been learnt is gone.

    Why it matters: a spike that recovers costs a few steps. A spike that sticks has damaged the optimizer's
    state or the weights, and the steps after it are spent on learning again.

    What to do: for one that stays, resume from before it and skip the batches around it; clip gradients. If
    the level moved without a spike, check whether the task changed there (a curriculum, a masking ratio,
    other data): then nothing is wrong.

    Silent when: outliers are as large throughout the run, in the first twentieth of the rows, for the
    last 25 rows (which may yet stay), where the learning rate was raised, and at a resume (loss-jump).
    """
    curve, rise = loss_curve(stage), loss_rise(stage)
    if curve is None:
        return
    if rise is not None and rise.way is Way.SHIFTED and not _at_resume(stage, curve, rise.row):
        yield _stuck(stage, curve, rise)
        return
    detour = None if rise is not None else _detour(stage, curve)
    if detour is not None:
        yield _cost_much(stage, curve, detour)
        return
    spikes = find_spikes(curve)
    if spikes is None:
        return
    usual = curve.back(float(curve.level[spikes.row]) - spikes.height)
    peak = float(curve.loss[spikes.row])
    limit = curve.back(float(curve.level[spikes.row]) - spikes.height + spikes.threshold)
    values: dict[str, float | str] = {
        "spikes": spikes.count,
        "usual": usual,
        "peak": peak,
        "step": curve.step(spikes.row),
        "spike_step": curve.step(spikes.row),
    }
    yield Finding(
        "loss-spike",
        Severity.INFO,
        stage.name,
        curve.step(spikes.first),
        curve.step(spikes.last),
        (Number(stage.source, "highest spike of the loss", peak, limit),),
        values,
        confidence=0.8,
        cause="spike-recovered",
        actions=(),
    )


def _at_resume(stage: StageEvidence, curve: LossCurve, place: int) -> bool:
    slack = max(5, curve.count // 200)
    return any(abs(row - place) <= slack for row in resumes(stage, curve))


def _detour(stage: StageEvidence, curve: LossCurve) -> Detour | None:
    """What the tallest step up cost, where neither a resume nor a raised learning rate explains it."""
    detour = find_detour(curve)
    if detour is None or _at_resume(stage, curve, detour.row):
        return None
    return None if rate_raised(curve, detour.row, max(20, 2 * curve.blocks.size)) else detour


def _cost_much(stage: StageEvidence, curve: LossCurve, detour: Detour) -> Finding:
    low, high, peak = (curve.back(level) for level in (detour.low, detour.high, detour.peak))
    back = curve.step(detour.back)
    values: dict[str, float | str] = {"step": curve.step(detour.row), "low": low, "high": high, "peak": peak}
    values |= {"steps": back - curve.step(detour.row), "last_step": curve.step(curve.count - 1)}
    if detour.returned:
        values["back_step"] = back
    return Finding(
        "loss-spike",
        Severity.WATCH,
        stage.name,
        curve.step(detour.row),
        back,
        (
            Number(stage.source, "loss, median after the spike", high, curve.back(detour.low + LEAST_RISE)),
            Number(stage.source, "steps until it was back", back - curve.step(detour.row)),
        ),
        values,
        confidence=0.85,
        cause="spike-stayed",
        actions=("resume-before-onset", "clip-gradients"),
    )


def _stuck(stage: StageEvidence, curve: LossCurve, rise: Rise) -> Finding:
    spiked = overshoots(curve, rise.row, rise.height, rise.last)
    severity = Severity.WATCH
    if spiked and (rise.lost >= 0.3 or rise.height >= TALL):
        severity = Severity.CRITICAL
    elif not spiked and rise.learning:
        severity = Severity.INFO
    values = rise_values(curve, rise) | {"step": curve.step(rise.row)}
    least = curve.back(rise.low + max(LEAST_RISE, 6.0 * rise.height / rise.score))
    return Finding(
        "loss-spike",
        severity,
        stage.name,
        curve.step(rise.row),
        curve.step(curve.count - 1),
        (
            Number(stage.source, "loss, median of the last rows", curve.back(rise.last), least),
            Number(stage.source, "highest loss since", curve.back(rise.peak)),
        ),
        values,
        rise_confidence(rise) if spiked else 0.6,
        cause="spike-stayed" if spiked else "level-moved",
        actions=("resume-before-onset", "clip-gradients") if spiked else ("look-again", "check-data"),
    )
