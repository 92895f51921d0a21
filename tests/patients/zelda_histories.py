"""Histories whose figures are those that the report of the seed's run prints, with realistic noise between.

Noise is drawn once, from fixed seeds, and then bent: values below the minimum are reflected, each window is
shifted to its mean by a smooth bump, and the values about the middle are moved until the median holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW = 10_000


@dataclass(frozen=True)
class LossFigures:
    """What the report prints of a loss, and where in the history its minimum lies (a row)."""

    rows: int
    first: float
    last: float
    least: float
    median: float
    least_row: int
    windows: tuple[float, ...] = ()


TOKENIZER = LossFigures(40_000, 0.1469, 0.001531, 0.000432, 0.001753, 37_211)
ACTIONS = LossFigures(10_000, 1.0465, 0.02886, 0.01307, 0.02555, 8_303)
DYNAMICS = LossFigures(
    50_344, 1.7785, 6.0698, 1.4388, 5.6808, 423, windows=(3.866, 5.054, 5.730, 6.043, 6.423)
)
ENTROPY = (0.3768, 1.2432, 0.4826)  # least, most, last
SPEED, RECENT_SPEED, SLOW_FROM = 0.3701, 0.2601, 45_000


def tokenizer_loss() -> Floats:
    """Loss [40000] of a run that converges and then jitters as small batches of frames do."""
    step = np.arange(TOKENIZER.rows)
    trend = 0.0013 + 0.144 * np.exp(-step / 350) + 0.0016 * np.exp(-step / 9000)
    return _bent(trend * np.exp(_noise(TOKENIZER.rows, 0.22, 0.9, 1)), TOKENIZER)


def actions_loss() -> Floats:
    """Loss [10000] of a run that converges."""
    step = np.arange(ACTIONS.rows)
    trend = 0.023 + 1.02 * np.exp(-step / 90) + 0.012 * np.exp(-step / 1500)
    return _bent(trend * np.exp(_noise(ACTIONS.rows, 0.16, 0.8, 2)), ACTIONS)


def dynamics_loss() -> Floats:
    """Loss [50344] that falls for some hundred steps, while the rate warms up, and rises ever after."""
    at = [0, 150, 420, 800, 1500, 2500, 4000, 7000, 10_000, 20_000, 30_000, 40_000, 50_343]
    height = [1.77, 1.58, 1.52, 1.72, 2.35, 3.1, 3.85, 4.45, 4.72, 5.45, 5.9, 6.22, 6.52]
    trend = np.interp(np.arange(DYNAMICS.rows), at, height)
    relative = _noise(DYNAMICS.rows, 0.055, 0.9, 3)
    early = np.interp(np.arange(DYNAMICS.rows), [0, 1000], [0.35, 1.0])
    return _bent(trend * np.exp(early * relative), DYNAMICS)


def learning_rates(rows: int, planned: int, peak: float) -> Floats:
    """Linear warm-up over 5 % of the planned steps, then a cosine to zero: at step 50,343 still 0.0096."""
    step = np.arange(rows)
    warmup = planned * 0.05
    cosine = 0.5 * (1 + np.cos(np.pi * (step - warmup) / (planned - warmup)))
    return np.asarray(peak * np.where(step < warmup, (step + 1) / warmup, cosine), np.float64)


def action_measures() -> tuple[Floats, Floats]:
    """(entropy [20], unique actions [20]), logged every 500 steps."""
    rng = np.random.default_rng(4)
    entropy = np.interp(np.arange(20), [0, 2, 5, 12, 19], [0.9, 1.2, 0.95, 0.62, 0.5]) + rng.normal(
        0, 0.06, 20
    )
    entropy = entropy.clip(ENTROPY[0] + 0.02, ENTROPY[1] - 0.02)
    entropy[[14, 2, 19]] = ENTROPY
    unique = np.where(entropy > 1.0, 5, np.where(entropy > 0.75, 4, np.where(entropy > 0.55, 3, 2)))
    return entropy, unique.astype(np.float64)


def dynamics_clock() -> Floats:
    """Runtime [50344] in seconds: a steady pace, a third slower over the last 5,343 steps."""
    steps = DYNAMICS.rows - 1
    late, recent = (steps - SLOW_FROM) / RECENT_SPEED, 5000 / RECENT_SPEED
    parts = [(SLOW_FROM, steps / SPEED - late), (steps - 5000, late - recent), (steps, recent)]
    return clock(DYNAMICS.rows, parts, 5)


def clock(rows: int, parts: list[tuple[int, float]], seed: int) -> Floats:
    """Runtime [rows]: (up to which row, in how many seconds), part by part; a pause every 2,000 steps."""
    rng = np.random.default_rng(seed)
    gaps = rng.lognormal(0, 0.12, rows - 1)
    gaps[1999::2000] += 4
    first = 0
    for last, seconds in parts:
        gaps[first:last] *= seconds / gaps[first:last].sum()
        first = last
    return np.concatenate([[1.9], 1.9 + np.cumsum(gaps)])


def _noise(rows: int, size: float, phi: float, seed: int) -> Floats:
    """Half autocorrelated, half independent and heavy-tailed, of one standard deviation [rows]."""
    rng = np.random.default_rng(seed)
    white = rng.normal(0, 1, rows)
    memory = np.empty(rows)
    last = 0.0
    for row, shock in enumerate(white.tolist()):
        last = phi * last + shock
        memory[row] = last
    tailed = rng.standard_t(5, rows)
    both = 0.6 * memory / memory.std() + 0.8 * tailed / tailed.std()
    return np.asarray(size * both / both.std(), np.float64)


def _bent(loss: Floats, figures: LossFigures) -> Floats:
    """The loss with the printed figures."""
    for _ in range(60):
        floor = figures.least * 1.0005
        loss = np.where(loss < floor, 2 * floor - loss, loss)
        _pin(loss, figures)
        loss = _with_means(loss, figures) if figures.windows else loss
        loss = _with_median(loss, figures)
        _pin(loss, figures)
    return loss


def _pin(loss: Floats, figures: LossFigures) -> None:
    loss[0], loss[-1], loss[figures.least_row] = figures.first, figures.last, figures.least


def _windows(figures: LossFigures) -> list[slice]:
    count = len(figures.windows) or 1
    edges = [*range(0, WINDOW * count, WINDOW), figures.rows] if figures.windows else [0, figures.rows]
    return [slice(first, last) for first, last in pairwise(edges)]


def _with_means(loss: Floats, figures: LossFigures) -> Floats:
    out = loss.copy()
    for window, mean in zip(_windows(figures), figures.windows, strict=True):
        inside = out[window]
        bump = np.sin(np.linspace(0, np.pi, inside.size)) ** 0.5
        out[window] = inside + (mean - inside.mean()) * bump / bump.mean()
    return out


def _with_median(loss: Floats, figures: LossFigures) -> Floats:
    """Values near the median move towards where it should be; in each window the others make up for it."""
    out = loss.copy()
    middle = float(np.median(out))
    if not figures.windows:
        return np.asarray(out * figures.median / middle, np.float64)
    near = np.exp(-(((out - middle) / 0.35) ** 2))
    step = figures.median - middle
    for window in _windows(figures):
        inside = near[window]
        rest = 1 - inside
        out[window] += step * (inside - rest * inside.sum() / max(rest.sum(), 1.0))
    return out
