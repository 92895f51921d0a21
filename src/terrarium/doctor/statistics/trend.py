"""Monotone trends in block medians: Mann-Kendall for whether, Theil-Sen for how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.history import FloatArray


@dataclass(frozen=True)
class Slope:
    """A slope per unit of time, with its confidence interval."""

    middle: float
    low: float
    high: float


def mann_kendall(values_K: FloatArray, shared: float = 0.0) -> float:
    """The normal score of Kendall's S: above 0 where values rise, 0 for fewer than 4 values.

    Ties are counted as in Kendall (1975); autocorrelation by the effective sample size (Yue and Wang 2004).

    Args:
        values_K: at most a few hundred values.
        shared: correlation of neighbouring residuals, 0 to 0.95: see `persistence`.
    """
    count = values_K.size
    if count < 4:
        return 0.0
    below, above = np.tril_indices(count, -1)
    score = float(np.sign(values_K[below] - values_K[above]).sum())
    _, ties = np.unique(values_K, return_counts=True)
    variance = (
        count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())
    ) / 18
    if variance <= 0:
        return 0.0
    variance *= (1 + shared) / (1 - shared)
    return (score - math.copysign(min(1.0, abs(score)), score)) / math.sqrt(variance)


def theil_sen(times_K: FloatArray, values_K: FloatArray, score: float = 1.96) -> Slope:
    """The median of all pairwise slopes, and its interval by Kendall's S (Sen 1968).

    Args:
        times_K: rising times, K <= a few hundred.
        values_K: values.
        score: normal score of the interval; 1.96 is 95 %.
    """
    later, earlier = np.tril_indices(values_K.size, -1)
    apart = times_K[later] - times_K[earlier]
    slopes = np.sort((values_K[later] - values_K[earlier])[apart > 0] / apart[apart > 0])
    if not slopes.size:
        return Slope(0.0, 0.0, 0.0)
    count = values_K.size
    half = score * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) / 2
    low, high = np.clip(np.array([slopes.size / 2 - half, slopes.size / 2 + half]), 0, slopes.size - 1)
    return Slope(float(np.median(slopes)), float(slopes[int(low)]), float(slopes[int(high)]))
