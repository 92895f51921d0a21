"""Where a curve changes: steps and bends, fitted to block medians, refined on rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import persistence, smooth, spread

MOST_POINTS = 256
VALLEY = 0.15  # of the values: a wider one has no lowest place


class Shape(Enum):
    """How a curve goes on after a change; the value is the time constant or power of `_after`."""

    STEP = 0.0
    SATURATING = 0.1
    LEVELLING = 0.4
    STRAIGHT = 1.0
    GROWING = 2.0


@dataclass(frozen=True)
class Change:
    """A level, or a falling line, that turns into something else.

    Attributes:
        place: of the first value after the change.
        shape: how it goes on.
        noise: robust standard deviation of the residuals.
        shared: correlation of neighbouring residuals, 0 to 0.95.
        cost: mean absolute residual.
    """

    place: int
    shape: Shape
    noise: float
    shared: float
    cost: float


def find_change(values_K: FloatArray, margin: int = 1) -> Change | None:
    """The upward change that explains a series best, in mean absolute residual.

    Every place and shape is fitted by least squares: before the place a constant or a falling line, after it
    one of `Shape` (a step may go on sloping). The least absolute residual decides, so that single outliers
    neither make nor hide a change.

    Args:
        values_K: at most `MOST_POINTS` values, better medians of blocks than rows.
        margin: least number of values after the change.

    Returns:
        The change, or None for fewer than 4 values.
    """
    count = values_K.size
    if count < 4 or count > MOST_POINTS:
        return None
    best: Change | None = None
    for shape in Shape:
        places_T = np.arange(1 if shape is Shape.STEP else 0, count - max(margin, 1) + 1)
        if not places_T.size:
            continue
        residuals_TK = _residuals(values_K, places_T, shape)
        costs_T = np.abs(residuals_TK).mean(axis=1)
        least = int(np.argmin(costs_T))
        if best is None or costs_T[least] < best.cost:
            rest_K = residuals_TK[least]
            best = Change(
                int(places_T[least]), shape, spread(rest_K), persistence(rest_K), float(costs_T[least])
            )
    return best


def turning_point(values_K: FloatArray, begin: int = 0) -> int:
    """Where a rise at the end of a series began.

    That is where a line through the last places at 10 % and 40 % of its height meets the lowest level. In a
    rounded valley that is too late; then half-way between it and the lowest place.

    Args:
        values_K: values that rise in the end.
        begin: the first place that it may have begun at.
    """
    levels = smooth(values_K, 5 if values_K.size >= 30 else 3)
    lowest = begin + int(np.argmin(levels[begin:]))
    low = float(levels[lowest])
    height = float(np.median(values_K[-max(2, values_K.size // 10) :])) - low
    left, risen = (int(np.flatnonzero(levels <= low + share * height)[-1]) for share in (0.1, 0.4))
    line = max(begin, round(left - (risen - left) / 3))
    return (line + lowest) // 2 if 0 < line - lowest <= VALLEY * values_K.size else line


def refine_step(values_M: FloatArray) -> int:
    """The place of the first value after the step that splits a short series best.

    Least squares on ranks: what a median would see, at the price of a sort.

    Args:
        values_M: at least 2 values, rows around the step.
    """
    ranks_M = np.argsort(np.argsort(values_M, kind="stable"), kind="stable").astype(np.float64)
    before = np.arange(1, values_M.size)
    left = np.cumsum(ranks_M)[:-1]
    gain = (left - before * ranks_M.mean()) ** 2 / (before * (values_M.size - before))
    return int(np.argmax(gain)) + 1


def _residuals(values_K: FloatArray, places_T: NDArray[np.int64], shape: Shape) -> FloatArray:
    """What each place leaves unexplained [T, K]: with a slope before it only where that slope falls."""
    since_TK = (np.arange(values_K.size)[None, :] - places_T[:, None]) / values_K.size
    left_T1 = 1 - places_T[:, None] / values_K.size
    level_TK, slope_TK = np.ones_like(since_TK), np.minimum(since_TK, 0.0)
    after_TKB = _after(np.maximum(since_TK, 0.0), since_TK >= 0, left_T1, shape)
    flat_TKB = np.concatenate([level_TK[..., None], after_TKB], axis=-1)
    sloped_TKB = np.concatenate([slope_TK[..., None], flat_TKB], axis=-1)
    flat_TK, _ = _fit(flat_TKB, values_K)
    sloped_TK, slopes_T = _fit(sloped_TKB, values_K)
    return np.where((slopes_T < 0)[:, None], sloped_TK, flat_TK)


def _after(since_TK: FloatArray, on_TK: NDArray[np.bool_], left_T1: FloatArray, shape: Shape) -> FloatArray:
    if shape is Shape.STEP:
        return np.stack([on_TK.astype(np.float64), since_TK], axis=-1)
    if shape in (Shape.SATURATING, Shape.LEVELLING):
        return np.asarray(-np.expm1(-since_TK / (shape.value * left_T1)))[..., None]
    return np.asarray(since_TK**shape.value)[..., None]


def _fit(bases_TKB: FloatArray, values_K: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residuals [T, K] of least squares at all places at once, and the first weight [T] of each.

    A little ridge handles places that leave a part without values.
    """
    turned_TBK = bases_TKB.transpose(0, 2, 1)
    grams_TBB = turned_TBK @ bases_TKB + 1e-9 * np.eye(bases_TKB.shape[-1])
    weights_TB1 = np.linalg.solve(grams_TBB, (turned_TBK @ values_K)[..., None])
    residuals_TK = values_K - (bases_TKB @ weights_TB1)[..., 0]
    return residuals_TK, np.asarray(weights_TB1[:, 0, 0], dtype=np.float64)
