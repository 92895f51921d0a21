"""Whether a loss has risen from its best level and stayed up, since when, and in which of three ways.

Decided once for `loss-diverging`, `loss-drifting-up` and `loss-spike`, so that one rise is one finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakKeyDictionary

import numpy as np

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.detectors.loss_restarts import rate_raised
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians, smooth, spread
from terrarium.doctor.statistics.change import Change, Shape, find_change, refine_step, turning_point
from terrarium.doctor.statistics.trend import mann_kendall, theil_sen

LEAST_RISE = 0.05  # of the loss: less than this is no news
LEAST_SCORE = 6.0  # standard errors, after autocorrelation
LEAST_SHIFT_SCORE = 8.0  # a step can be fitted anywhere
LEAST_SHIFT_ROWS = 30
LEAST_TREND = 4.0  # normal score of Mann-Kendall
TALL = math.log(2)  # a loss that doubles
HUGE = math.log(3)
STILL_UP = 0.4  # of the height, in the very last rows
HABIT = 1.5  # times the highest earlier rise that came back: what a rise must exceed to be news
EARLY = 0.1  # of the blocks: a rise that begins within may follow a descent too short for them
ROUGH = 0.25  # noise from row to row beyond which single losses are often several times as high
SHORT_RUN = 300  # rows; below, only what nobody could miss
STRONG, LONG = math.log(1.25), 0.4  # a quarter more, over so much of the run: its trend may be half as sure
LASTING = 0.15  # share of the run that a slow rise must have lasted


class Way(StrEnum):
    """How a loss rises."""

    DIVERGING = "diverging"
    DRIFTING = "drifting"
    SHIFTED = "shifted"


@dataclass(frozen=True)
class Rise:
    """A loss that left its best level and stays above it. Levels are on the scale of `LossCurve.level`.

    Attributes:
        way: how it rises.
        row: at which it began.
        low: level before.
        last: level of the last rows.
        peak: highest level since, of single blocks' worth of rows.
        height: last less low: 0.05 is 5 %.
        score: height in standard errors.
        trend: normal score of Mann-Kendall since it began.
        steepness: slope of Theil-Sen since it began, levels per row, at the low end of its interval.
        noise: robust standard deviation of block medians about the fit.
        lost: share of what had been learnt that is gone: 1 is back at the first level; inf where nothing was.
        learning: whether the loss falls again.
    """

    way: Way
    row: int
    low: float
    last: float
    peak: float
    height: float
    score: float
    trend: float
    steepness: float
    noise: float
    lost: float
    learning: bool


_RISES: WeakKeyDictionary[StageEvidence, Rise | None] = WeakKeyDictionary()


def loss_rise(stage: StageEvidence) -> Rise | None:
    """The rise that the loss of a stage has not come back from, or None."""
    if stage not in _RISES:
        curve = loss_curve(stage)
        _RISES[stage] = None if curve is None else _rise(curve)
    return _RISES[stage]


def _rise(curve: LossCurve) -> Rise | None:
    medians = curve.blocks.medians
    if medians.size < 8:
        return None
    last = float(np.median(medians[-max(3, medians.size // 20) :]))
    levels = smooth(medians)
    least = int(np.argmin(levels))
    height = last - float(levels[least])
    if height < LEAST_RISE:
        return None
    near = levels[least] + max(0.12 * height, 2 * spread(np.diff(medians)))
    far = np.flatnonzero(levels[:least] > near)
    begin = int(far[-1]) + 1 if far.size else 0
    for margin in (2, max(3, round(LASTING * (medians.size - begin)))):  # the last blocks may be noise
        change = find_change(medians[begin:], margin)
        rise = None if change is None else _described(curve, begin, change)
        if rise is not None:
            return rise
    return None


def _described(curve: LossCurve, begin: int, change: Change) -> Rise | None:
    medians = curve.blocks.medians
    place = begin + change.place
    after = medians[place:]
    tail = max(3, after.size // 4)
    before = medians[max(begin, place - max(tail, 5)) : place]
    row = _row(curve, change, place)
    low = float(np.median(before)) if before.size else min(curve.first, float(medians[place]))
    if place <= max(2, EARLY * medians.size):
        row, low = _beginning(curve, row, low)
    last = float(np.median(medians[-tail:]))
    height = last - low
    noise = max(change.noise, spread(np.diff(medians[begin:])) / 2, 1e-9)
    error = noise * math.sqrt((1 + change.shared) / (1 - change.shared))
    score = height / (error * math.sqrt(1 / max(1, before.size) + 1 / tail))
    rows = np.arange(after.size, dtype=np.float64) * curve.blocks.size
    way = _way(curve, place, low, last, after)
    if way is Way.DRIFTING and height > 0:
        row = min(row, (row + curve.blocks.row(turning_point(medians, begin))) // 2)
    rise = Rise(
        way=way,
        row=row,
        low=low,
        last=last,
        peak=_peak(curve, place),
        height=height,
        score=score,
        trend=mann_kendall(after, change.shared),
        steepness=theil_sen(rows, after).low,
        noise=noise,
        lost=_lost(curve, low, last),
        learning=mann_kendall(after[-max(8, after.size // 2) :], change.shared) < -3,
    )
    return rise if _real(curve, rise, after) else None


def _row(curve: LossCurve, change: Change, place: int) -> int:
    """The first row of the rise: of a step to the row, of anything slower to the block."""
    row = curve.blocks.row(place)
    if change.shape is not Shape.STEP:
        return row
    size = curve.blocks.size
    low, high = max(0, row - 2 * size), min(curve.count, row + 2 * size)
    return low + refine_step(curve.level[low:high]) if high - low >= 4 else row


def _beginning(curve: LossCurve, row: int, low: float) -> tuple[int, float]:
    """Row and level of the lowest of the first rows, if below a level: blocks blur a short descent."""
    until = max(row, 2 * curve.blocks.size)
    fine = block_medians(curve.level[:until], int(np.clip(until // 20, 3, 25)))
    levels = smooth(fine.medians)
    least = int(np.argmin(levels))
    below = levels[least] < low - max(LEAST_RISE, 2 * curve.noise / math.sqrt(fine.size))
    return (fine.row(least), float(levels[least])) if below else (row, low)


def _peak(curve: LossCurve, place: int) -> float:
    row = max(0, curve.blocks.row(place) - curve.blocks.size)
    return float(curve.level[row:].max())


def _lost(curve: LossCurve, low: float, last: float) -> float:
    """Share of the descent that is gone, in units of loss."""
    fell = curve.back(curve.first) - curve.back(low)
    return (curve.back(last) - curve.back(low)) / fell if fell > 0 else math.inf


def _way(curve: LossCurve, place: int, low: float, last: float, after: FloatArray) -> Way:
    height = last - low
    share = after.size / curve.blocks.medians.size
    arrived = int(np.argmax(smooth(after) >= low + 0.8 * height))
    sudden = place > 0 and arrived <= max(2, 0.02 * curve.blocks.medians.size)
    if sudden and overshoots(curve, curve.blocks.row(place), height, last):
        return Way.SHIFTED
    back = last >= curve.first - 0.1 * max(curve.first - low, 0.0)
    if back and (height >= math.log(1.3) or curve.first - low > LEAST_RISE):
        return Way.DIVERGING
    if sudden:
        return Way.SHIFTED
    fast = share <= 0.35 and (height >= TALL or _lost(curve, low, last) >= 0.4)
    if fast or height >= HUGE:
        return Way.DIVERGING
    return Way.DRIFTING


def overshoots(curve: LossCurve, row: int, height: float, last: float) -> bool:
    """Whether a sudden rise began with a spike: well above where it stayed, and unlike any other."""
    size = curve.blocks.size
    begin, end = max(0, row - 2 * size), row + max(10, curve.count // 100, 2 * size)
    peak = float(curve.level[begin:end].max())
    others = np.concatenate([curve.level[curve.count // 10 : begin], curve.level[end:]])
    usual = float(np.quantile(others, 0.999)) if others.size else -math.inf
    return peak >= max(usual, last + max(0.5 * height, 6 * curve.noise))


def _real(curve: LossCurve, rise: Rise, after: FloatArray) -> bool:
    """Whether the rise is real: noise, a warm-up, a bump or a raised learning rate does not explain it."""
    tall = rise.height >= TALL and rise.trend >= LEAST_SCORE / 2
    tall = tall or (rise.height >= HUGE and rise.way is Way.DIVERGING)
    tall = tall and curve.noise <= ROUGH
    if rise.height < LEAST_RISE or rise.score < LEAST_SCORE / (2 if tall else 1) or after.size < 3:
        return False
    if _expected(curve, rise, after) or _usual(curve, rise) or _is_back(curve, rise):
        return False
    unmistakable = rise.way is Way.DIVERGING and rise.height >= max(TALL, 5 * curve.noise)
    if curve.count < SHORT_RUN and not unmistakable:
        return False
    if rise.way is Way.DRIFTING:
        share = after.size / curve.blocks.medians.size
        strong = rise.height >= STRONG and share >= LONG
        least = LEAST_TREND / 2 if strong else LEAST_TREND
        return after.size >= 8 and share >= LASTING and rise.trend >= least and rise.steepness > 0
    if rise.way is Way.DIVERGING:
        return not rise.learning or rise.last >= curve.first + LEAST_RISE
    spiked = overshoots(curve, rise.row, rise.height, rise.last)
    return (
        rise.score >= (LEAST_SCORE if spiked else LEAST_SHIFT_SCORE)
        and after.size * curve.blocks.size >= LEAST_SHIFT_ROWS
    )


def _usual(curve: LossCurve, rise: Rise) -> bool:
    """Whether the loss has already risen nearly as far before and come back."""
    grave = rise.way is Way.DIVERGING and rise.height >= TALL
    return not grave and HABIT * _earlier_rise(curve, rise.row) >= rise.height


def _is_back(curve: LossCurve, rise: Rise) -> bool:
    """Whether the very last rows are nearly where the loss was before: a spike that is over just now."""
    end = float(np.median(curve.level[-max(8, curve.blocks.size // 2) :]))
    return end < rise.low + STILL_UP * rise.height


def _earlier_rise(curve: LossCurve, row: int) -> float:
    """The highest rise of the smoothed loss before a row, which it had come back from by then."""
    medians = curve.blocks.medians
    levels = smooth(medians, 5)[medians.size // 10 : int(np.searchsorted(curve.blocks.starts, row))]
    if levels.size < 3:
        return 0.0
    back = np.minimum.accumulate(levels[::-1])[::-1]
    return float(np.minimum(levels - np.minimum.accumulate(levels), levels - back).max())


def _expected(curve: LossCurve, rise: Rise, after: FloatArray) -> bool:
    """Whether the learning rate explains it: it is still warming up, or was raised there not long ago."""
    if curve.rate is None:
        return False
    if curve.warm + 3 * curve.blocks.size > curve.count:
        return rise.height < TALL or rise.last < curve.first + LEAST_RISE
    if rise.way is Way.DIVERGING and rise.last >= curve.first:
        return False
    young = after.size < 0.25 * curve.blocks.medians.size
    return (young or rise.learning) and rate_raised(curve, rise.row, max(20, 2 * curve.blocks.size))
