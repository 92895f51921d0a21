"""A learning rate that is too high: only where the loss is ill, and the run's own numbers speak for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from terrarium.doctor.detectors.learning_rate import rates_of
from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.detectors.loss_rise import Way, loss_rise
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import smooth, spread

LEAST_ROWS = 50
HIGH = 2e-3  # for AdamW and models of this size: presets train at 1e-3 and less for long, at 2e-3 for short
HIGH_AT_PEAK = 5e-4  # high enough, where the loss turns as the rate reaches its peak
STILL = 0.3  # of the peak: a rate that has fallen further is not to blame for what begins then
LONG = 0.2  # of the peak: over a long horizon, the rate is above this share most of the time
HARMLESS = 0.2  # of the run without harm: what then moves from one row to the next has another cause
USUAL_REMEDY = 5e-4
CLIMB = math.log(1.5)
TALL = math.log(2)


@dataclass(frozen=True)
class Illness:
    """What is wrong with a loss.

    Attributes:
        step: where it began.
        grave: whether it is beyond doubt.
        times: by how much the loss rose; inf where it ended in NaN.
        sudden: whether it came from one row to the next.
    """

    step: float
    grave: bool
    times: float
    sudden: bool = False


@dataclass(frozen=True)
class Blamed:
    """The rate that may have made a loss ill.

    Attributes:
        there: the rate where the illness began.
        height: what is held against it: the peak where the rate was on its way there, else the same.
        peak: the highest rate of the run.
        now: the rate at the last step.
        turned: whether the loss turned just as the rate reached its peak.
    """

    there: float
    height: float
    peak: float
    now: float
    turned: bool

    @property
    def least(self) -> float:
        """The least rate that is to blame."""
        return HIGH_AT_PEAK if self.turned else HIGH


def learning_rate_too_high(stage: StageEvidence) -> Iterator[Finding]:
    """The learning rate is too high for this run.

    Looks for: a loss that rises, or ends in NaN, while the learning rate is 2e-3 or more
    and still near its peak, or is on its way there; or a rise that begins just where a warm-up brings
    the rate to its peak, of 5e-4 or more.

    Why it matters: steps that are too long undo what earlier ones learnt, and the longer the schedule
    the longer this lasts. A cosine over 300,000 steps has hardly fallen after 50,000.

    What to do: resume from before the rise with about a tenth of the rate, and read the rate in effect
    back: a scheduler's saved state puts the old one back. Compare a thousand steps each at the rate, a
    third of it, and a tenth.

    Silent when: the loss is healthy, however high the rate; the rate is zero or small; it had fallen to
    less than a third of its peak before the rise began; or the loss moved to its new level at once, after
    a fifth of the run without harm.
    """
    steps, rate = rates_of(stage)
    illness = _illness(stage)
    if illness is None or rate.size == 0 or _out_of_the_blue(steps, illness):
        return
    blamed = _blamed(steps, rate, illness)
    if blamed.height >= blamed.least and blamed.height >= STILL * blamed.peak:
        yield _too_high(stage, illness, blamed, _confidence(steps, rate, illness, blamed.turned))


def _blamed(steps: FloatArray, rate: FloatArray, illness: Illness) -> Blamed:
    there = float(rate[min(int(np.searchsorted(steps, illness.step, "right")), rate.size - 1)])
    peak, turned = float(rate.max()), _turns_at_the_peak(steps, rate, illness.step)
    rising = turned or _rises_with_the_rate(steps, rate, illness)
    return Blamed(there, peak if rising else there, peak, float(rate[-1]), turned)


def _too_high(stage: StageEvidence, illness: Illness, blamed: Blamed, confidence: float) -> Finding:
    last = int(stage.kept.steps[-1])
    values, numbers = _figures(stage, illness, blamed)
    planned = stage.plan.schedule_steps or stage.plan.steps
    unfinished = bool(planned and planned > last)
    if planned and unfinished:
        values |= {"planned": planned, "taken": 100 * (last + 1) / planned}
        numbers.append(Number(stage.plan.source or stage.source, "steps of the schedule", float(planned)))
    return Finding(
        "learning-rate-too-high",
        Severity.CRITICAL if illness.grave else Severity.WATCH,
        stage.name,
        int(illness.step),
        last,
        tuple(numbers),
        values,
        confidence=confidence,
        cause="rate-over-its-horizon" if unfinished and blamed.now >= LONG * blamed.peak else "",
        actions=(
            "resume-before-onset",
            "lower-learning-rate",
            "smoke-test",
            "check-effective-rate",
            "look-again",
        ),
    )


def _decisive(stage: StageEvidence, blamed: Blamed) -> Number:
    if blamed.height == blamed.there:
        return Number(stage.source, "learning rate where the loss turns", blamed.height, blamed.least)
    return Number(stage.source, "learning rate while the loss rises", blamed.height, blamed.least)


def _figures(
    stage: StageEvidence, illness: Illness, blamed: Blamed
) -> tuple[dict[str, float | str], list[Number]]:
    """Values for the sentence about a rate, and the numbers that it rests on."""
    there, peak, now = blamed.there, blamed.peak, blamed.now
    values: dict[str, float | str] = {"rate": peak, "rate_now": now, "share": now / peak}
    values |= {"rate_at": there} if there >= STILL * peak else {"rate_rising": there}
    values |= {"percent": 100 * now / peak}
    values |= {"first_step": int(illness.step), "last_step": int(stage.kept.steps[-1])}
    values |= {"times": illness.times} if math.isfinite(illness.times) else {}
    values |= {"suggested_rate": _rounded(min(USUAL_REMEDY, peak / 10))}
    numbers = [
        _decisive(stage, blamed),
        Number(stage.source, "learning rate at the last step", now),
        Number(stage.source, "learning rate over its peak", now / peak, STILL, "ratio"),
    ]
    return values, numbers


def _illness(stage: StageEvidence) -> Illness | None:
    """What is wrong with the loss, if anything: it rises, or is not finite at the end."""
    curve, rise = loss_curve(stage), loss_rise(stage)
    climb = None if curve is None else _climb(curve)
    if curve is not None and climb is not None:
        return _rising(curve, *climb, True)
    if curve is not None and rise is not None and _lasts(curve, rise.row, rise.height):
        found = _rising(curve, rise.row, rise.height, rise.way is Way.DIVERGING)
        return replace(found, sudden=rise.way is Way.SHIFTED)
    bad = stage.kept.not_finite.get("loss")
    if bad is None or bad.size < LEAST_ROWS or not bad[-5:].all():
        return None
    good = np.flatnonzero(~bad)
    return Illness(float(stage.kept.steps[int(good[-1]) + 1 if good.size else 0]), True, math.inf)


def _rising(curve: LossCurve, row: int, height: float, diverging: bool) -> Illness:
    return Illness(curve.step(row), diverging and height >= TALL, math.exp(min(height, 700)))


def _out_of_the_blue(steps: FloatArray, illness: Illness) -> bool:
    """Whether the loss moved at once after a good part of the run at which the rate did no harm."""
    return illness.sudden and illness.step - steps[0] > HARMLESS * (steps[-1] - steps[0])


def _lasts(curve: LossCurve, row: int, height: float) -> bool:
    """Whether a rise is more than a bump: it doubles the loss, or takes a tenth of the run already."""
    return curve.count >= LEAST_ROWS and (height >= TALL or curve.count - row >= 0.1 * curve.count)


def _climb(curve: LossCurve) -> tuple[int, float] | None:
    """The row from which a loss climbed by half and more to stay there, and how far; however it got there.

    Of the last quarter no block lies lower than 60 % of the height, nor is the end much lower than the peak.
    """
    medians = curve.blocks.medians
    if curve.count < 4 * LEAST_ROWS or medians.size < 12:
        return None
    levels = smooth(medians)
    lowest = int(np.argmin(levels))
    low, last = float(levels[lowest]), float(np.median(medians[-max(3, medians.size // 10) :]))
    height = last - low
    late = medians[-(medians.size // 4) :]
    tall = height >= max(CLIMB, 6 * spread(np.diff(medians)))
    stays = float(late.min()) >= low + 0.6 * height and last >= float(levels.max()) - 0.25 * height
    if not (tall and stays and last >= curve.first - 0.5 * height):
        return None
    left, risen = (int(np.flatnonzero(levels <= low + share * height)[-1]) for share in (0.1, 0.4))
    return curve.blocks.row(max(0, round(left - (risen - left) / 3))), height  # a line through both


def _turns_at_the_peak(steps: FloatArray, rate: FloatArray, step: float) -> bool:
    """Whether the rate grew threefold and reached its peak where the loss turned."""
    peak = float(rate.max())
    reached = float(steps[int(np.argmax(rate >= 0.95 * peak))])
    half = float(steps[int(np.argmax(rate >= 0.5 * peak))])
    slack = 0.06 * float(steps[-1] - steps[0])
    return bool(rate[0] <= peak / 3 and half - slack <= step <= reached + slack)


def _rises_with_the_rate(steps: FloatArray, rate: FloatArray, illness: Illness) -> bool:
    """Whether the loss began to rise while the rate was still rising, which then went far beyond."""
    reached = float(steps[int(np.argmax(rate >= 0.95 * rate.max()))])
    return rate[0] <= rate.max() / 3 and illness.step <= reached and float(rate.max()) >= HIGH


def _confidence(steps: FloatArray, rate: FloatArray, illness: Illness, turned: bool) -> float:
    """Less, where the same rate did no harm for long, or where the rate is not far above the usual."""
    harmless = (illness.step - steps[0]) / max(1.0, float(steps[-1] - steps[0]))
    sure = 0.85 if float(rate.max()) >= 2.5 * HIGH or turned else 0.7
    return sure - (0.25 if harmless > 0.5 and not turned else 0.0)


def _rounded(rate: float) -> float:
    """A rate with one digit."""
    return float(f"{rate:.0e}")
