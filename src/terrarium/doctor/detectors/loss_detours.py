"""Spikes that cost a good part of the run: the loss takes long to come back to where it had been."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.detectors.loss_curve import LossCurve
from terrarium.doctor.detectors.loss_rise import LEAST_RISE, overshoots
from terrarium.doctor.statistics.blocks import spread
from terrarium.doctor.statistics.change import refine_step

LEAST_ROWS, LEAST_SHARE = 50, 0.1  # of the run: what recovers sooner has cost little
LEAST_SPIKE, LEAST_SCALES = math.log(1.5), 10.0  # as half again, and standard deviations of the rows' noise
RESTS = 0.3  # of the spike's height: what the loss may fall soon after it, for it to have been a spike
CLEAR = 4.0  # standard deviations of neighbouring blocks


@dataclass(frozen=True)
class Detour:
    """A spike after which the loss was long above where it had been. Levels are those of `LossCurve.level`.

    Attributes:
        row: of the spike.
        low: level before it.
        high: level after it, when the spike itself was over.
        peak: level of the spike.
        back: row at which the loss was back; the last one where it never was.
        returned: whether it came back at all.
    """

    row: int
    low: float
    high: float
    peak: float
    back: int
    returned: bool


def find_detour(curve: LossCurve) -> Detour | None:
    """The detour that began with the loss's tallest step up, or None where the loss soon came back."""
    size, medians = curve.blocks.size, curve.blocks.medians
    least = max(LEAST_ROWS, round(LEAST_SHARE * curve.count))
    row = _tallest_step(curve)
    before = curve.level[max(0, row - 2 * max(size, LEAST_ROWS // 2)) : row]
    if before.size < LEAST_ROWS // 2 or row + least > curve.count:
        return None
    low = float(np.median(before))
    margin = max(LEAST_RISE, CLEAR * spread(np.diff(medians)))
    below = np.flatnonzero((curve.blocks.starts > row) & (medians <= low + margin / 2))
    back = curve.blocks.row(int(below[0])) if below.size else curve.count - 1
    high, later = (
        float(np.median(curve.level[row + first : row + 2 * first])) for first in (least // 4, least // 2)
    )
    peak = float(curve.level[row : row + least].max())
    shot_up = peak - high >= max(LEAST_SPIKE, LEAST_SCALES * curve.noise)
    over = high - later <= RESTS * (peak - high)  # what is learnt anew after a harder task goes on falling
    if back - row < least or high - low < margin or not shot_up or not over:
        return None
    if not overshoots(curve, row, high - low, high):
        return None
    return Detour(row, low, high, peak, back, bool(below.size))


def _tallest_step(curve: LossCurve) -> int:
    """The row at which the loss rises most from one block to the next, after the first twentieth."""
    size, medians = curve.blocks.size, curve.blocks.medians
    first = 1 + medians.size // 20
    rises = np.diff(medians)[first:]
    if not rises.size:
        return 0
    row = curve.blocks.row(first + int(np.argmax(rises)) + 1)
    low, high = max(0, row - 2 * size), min(curve.count, row + 2 * size)
    return low + refine_step(curve.level[low:high])
