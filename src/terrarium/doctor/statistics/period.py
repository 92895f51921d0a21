"""What repeats: a period with overtones, found in the spectrum and compared with the noise around it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import baseline, spread

TREND_BLOCKS = 8  # through whose medians the trend goes
LEAST_PERIODS = 6  # fewer repetitions are a coincidence
LEAST_ROWS = 8  # per period: anything faster is the noise from row to row
MOST_VALUES = 1 << 16
LEAST_PEAK = 20.0  # power over the spectrum around it; of noise the highest of 30,000 is about 12
LEAST_OVERTONE = 6.0
WIDEST_PEAK = 64  # places of the padded spectrum
PHASES = 24
TONES = (1, 2, 3, 4, 5)
SHIFTS = tuple(step / 20 for step in range(-6, 7))  # repetitions in the whole series
CLEARLY_LESS = 0.98


@dataclass(frozen=True)
class Period:
    """A pattern that repeats.

    Attributes:
        rows: its length in rows.
        repeats: how many of them the series holds.
        height: highest less lowest median of the phases.
        noise: robust standard deviation of what is left when the pattern is taken away.
        overtones: share of the pattern's energy that is not in its sine: a sawtooth has 0.39, a sine 0.
        peak: power at the period over the spectrum around it.
        likeness: correlation of the pattern in the first half and in the second, -1 to 1.
    """

    rows: float
    repeats: float
    height: float
    noise: float
    overtones: float
    peak: float
    likeness: float


def find_period(values_N: FloatArray) -> Period | None:
    """The strongest period of a series that has an overtone, or None.

    Args:
        values_N: finite values at equal distances; its trend is removed, outliers are clipped.
    """
    width = max(1, -(-values_N.size // MOST_VALUES))
    count = values_N.size // width
    if count < 2 * LEAST_PERIODS * LEAST_ROWS:
        return None
    series = values_N[values_N.size - count * width :].reshape(count, width).mean(axis=1)
    rest = series - baseline(series, max(2, count // TREND_BLOCKS))
    bound = 5 * spread(rest)
    if bound <= 0:
        return None
    rest = np.clip(rest, -bound, bound)
    found = _peak(np.abs(np.fft.rfft(rest * np.hanning(count), 4 * count)) ** 2, 4 * count)
    if found is None:
        return None
    cycles, peak = found  # of the padded spectrum
    rows = _best_length(rest, [4 * count / each for each in cycles])
    pattern, noise = fold(rest, rows)
    first, second = fold(rest[: count // 2], rows)[0], fold(rest[count // 2 :], rows, count // 2)[0]
    tones = np.abs(np.fft.rfft(pattern - pattern.mean())) ** 2
    energy = float(tones[1:].sum())
    if energy <= 0 or first.std() <= 0 or second.std() <= 0:
        return None
    return Period(
        rows * width,
        count / rows,
        float(np.ptp(pattern)),
        noise,
        1 - float(tones[1]) / energy,
        peak,
        float(np.corrcoef(first, second)[0, 1]),
    )


def fold(values_N: FloatArray, rows: float, start: int = 0) -> tuple[FloatArray, float]:
    """The median of each phase of a period [P], and the robust noise around it."""
    phases = int(min(PHASES, max(4, rows)))
    phase_N = ((np.arange(start, start + values_N.size) / rows % 1) * phases).astype(np.int64) % phases
    pattern = np.array([np.median(part) if part.size else 0.0 for part in _parts(values_N, phase_N, phases)])
    return pattern, spread(values_N - pattern[phase_N])


def _parts(values_N: FloatArray, phase_N: np.ndarray, phases: int) -> list[FloatArray]:
    order = np.argsort(phase_N, kind="stable")
    return np.split(values_N[order], np.searchsorted(phase_N[order], np.arange(1, phases)))


def _best_length(values_N: FloatArray, lengths: list[float]) -> float:
    """The period, of some and their neighbours, whose pattern leaves the least noise; the shorter of equals.

    The spectrum tells a period to a quarter of a repetition in the whole series: over many repetitions
    that would smear the pattern.
    """
    best, least = lengths[0], np.inf
    for rows in sorted(lengths):
        for shift in SHIFTS:
            near = values_N.size / (values_N.size / rows + shift)
            noise = fold(values_N, near)[1]
            if noise < CLEARLY_LESS * least:
                best, least = near, noise
    return best


def _peak(power: FloatArray, length: int) -> tuple[list[float], float] | None:
    """The cycles in `length` rows that the strongest peak may come from, and its power.

    A sawtooth whose slow half was taken away with the trend is strongest in its overtones.
    """
    around = _background(power)
    ratio = power / np.maximum(around, 1e-300)
    low, high = 4 * LEAST_PERIODS, min(length // LEAST_ROWS, ratio.size - 1)
    if high < low:
        return None
    strongest = int(np.argmax(ratio[low : high + 1])) + low
    if ratio[strongest] < LEAST_PEAK:
        return None
    cycles = [strongest / tone for tone in TONES if strongest / tone >= low]
    cycles = [each for each in cycles if _has_overtones(ratio, each)]
    return (cycles, float(ratio[strongest])) if cycles else None


def _has_overtones(ratio: FloatArray, cycles: float) -> bool:
    """Whether power stands out at two of the first multiples of a frequency at least.

    The lowest need not be among them: the trend was taken away with much of it.
    """
    places = [round(tone * cycles) for tone in TONES]
    heights = [float(ratio[place - 2 : place + 3].max()) for place in places if place + 3 < ratio.size]
    return sum(height >= LEAST_OVERTONE for height in heights) >= 2


def _background(power: FloatArray) -> FloatArray:
    """The spectrum around each frequency: medians of bands that widen, joined by lines, over ln 2."""
    wide = np.geomspace(WIDEST_PEAK, max(WIDEST_PEAK + 1, power.size), 28)  # no peak may fill a band
    edges: np.ndarray = np.unique(np.concatenate(([4], wide)).astype(np.int64))
    centres = (edges[1:] + edges[:-1]) / 2
    levels = np.array([np.median(power[a:b]) for a, b in pairwise(edges)])
    return np.asarray(np.interp(np.arange(power.size), centres, levels) / np.log(2))
