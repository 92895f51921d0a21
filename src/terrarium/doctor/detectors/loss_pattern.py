"""Losses that repeat themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.statistics.period import LEAST_PEAK, Period, find_period, fold

LEAST_HEIGHT = 0.05  # of the loss
LEAST_OVER_NOISE = 0.8  # noise from row to row
LEAST_LIKENESS = 0.7
LEAST_OVERTONES = 0.12  # a sine, which nobody's data order makes, has none; a sawtooth 0.39
SWING = 0.1  # of the learning rate: more is a cyclical schedule
MANY = 12  # repetitions: more than schedules have restarts
CYCLES = ("cycl", "restart", "sgdr", "triang", "warm_restarts")


def loss_sawtooth(stage: StageEvidence) -> Iterator[Finding]:
    """The loss repeats the same pattern again and again.

    Looks for: a period with overtones in the spectrum of the loss, of which the run holds at least six, the
    same in its first and its second half, at least 5 % high and not lost in the noise.

    Why it matters: the pattern is the order of the data: they are sorted or not shuffled, and the model
    learns and forgets the same things in turn. Each part of the period trains it on a different task.

    What to do: shuffle, and reshuffle in every epoch; compare the period with the number of steps in one.

    Silent when: there are fewer than six periods, the pattern is a plain sine or fades, the learning rate
    has the same period, or the schedule is known to be cyclical with few cycles and no rate was logged.
    """
    curve = loss_curve(stage)
    if curve is None:
        return
    begin = max(curve.warm if curve.warm < curve.count // 2 else 0, curve.count // 20)
    period = find_period(curve.level[begin:])
    if period is None or not _real(period) or _follows_rate(curve, begin, period):
        return
    if curve.rate is None and period.repeats < MANY and _cyclical(curve):
        return
    steps = period.rows * float(np.median(np.diff(curve.steps[begin:])))
    values: dict[str, float | str] = {
        "period": round(steps) if steps >= 20 else steps,
        "repeats": int(period.repeats),
        "percent": 100 * period.height,
        "noise": 100 * period.noise,
        "step": curve.step(0),
    }
    yield Finding(
        "loss-sawtooth",
        Severity.WATCH,
        stage.name,
        curve.step(0),
        curve.step(curve.count - 1),
        (
            Number(stage.source, "height of the pattern over the loss", period.height, LEAST_HEIGHT, "ratio"),
            Number(stage.source, "power at the period over the spectrum around it", period.peak, LEAST_PEAK),
        ),
        values,
        confidence=0.9 if period.likeness > 0.9 else 0.75,
        cause="data-not-shuffled",
        actions=("shuffle-data",),
    )


def _cyclical(curve: LossCurve) -> bool:
    return any(word in (curve.plan.schedule or "") for word in CYCLES)


def _real(period: Period) -> bool:
    return (
        period.height >= max(LEAST_HEIGHT, LEAST_OVER_NOISE * period.noise)
        and period.likeness >= LEAST_LIKENESS
        and period.overtones >= LEAST_OVERTONES
    )


def _follows_rate(curve: LossCurve, begin: int, period: Period) -> bool:
    """Whether the learning rate swings with the same period."""
    if curve.rate is None:
        return False
    rate = curve.rate[begin:]
    there = np.isfinite(rate)
    if not there.any():
        return False
    rate = np.interp(np.arange(rate.size), np.flatnonzero(there), rate[there])
    whole = max(1, round(period.rows))
    turn = np.convolve(rate, np.full(whole, 1 / whole), mode="same") if whole < rate.size else rate
    pattern, _ = fold(rate - turn, period.rows)
    return bool(np.ptp(pattern) > SWING * float(np.median(np.abs(rate))))
