"""Laws that a run is drawn from: how a loss falls, how a rate is scheduled, how noise and time behave."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from terrarium.doctor.history import FloatArray

CURVES = ("power", "exponential", "two-phase", "plateau", "late-start")
SCHEDULES = ("constant", "cosine", "warm-up", "linear", "step", "one-cycle", "restarts")
NOISES = ("gaussian", "student", "autocorrelated", "multiplicative", "decaying", "minibatch", "quantised")
PACES = ("steady", "heavy-tailed", "pauses")


def curve(law: str, rng: Generator, t: FloatArray) -> FloatArray:
    """The part [N] of the loss that is still to be learnt, 1 at t = 0; t in [0, 1] is the run."""
    if law == "power":
        knee = log_uniform(rng, 0.002, 0.03)
        return np.asarray((1 + t / knee) ** -rng.uniform(0.4, 0.9))
    if law == "exponential":
        return np.asarray(np.exp(-rng.uniform(5, 25) * t))
    if law == "two-phase":
        fast = rng.uniform(0.4, 0.8)
        return np.asarray(
            fast * np.exp(-rng.uniform(40, 150) * t) + (1 - fast) * np.exp(-rng.uniform(4, 8) * t)
        )
    if law == "plateau":
        return np.asarray(np.exp(-rng.uniform(25, 80) * t))
    first = rng.uniform(0.02, 0.06)  # a short rest at the start, as before heads form
    fall = 1 / (1 + np.exp((t - first) / (first / 4)))
    return np.asarray(0.75 * fall / fall[0] + 0.25 * np.exp(-8 * t)) if t.size else t


def schedule(law: str, rng: Generator, t: FloatArray) -> FloatArray:
    """Learning rate [N] over its peak; t in [0, 1] is the plan."""
    warm = rng.uniform(0.01, 0.08)
    cosine = 0.5 * (1 + np.cos(np.pi * np.clip((t - warm) / (1 - warm), 0, 1)))
    rising = np.clip(t / warm, 0, 1)
    restarts = rng.integers(3, 6)
    shapes = {
        "constant": np.ones_like(t),
        "cosine": 0.5 * (1 + np.cos(np.pi * np.clip(t, 0, 1))),
        "warm-up": np.where(t < warm, rising, cosine),
        "linear": np.where(t < warm, rising, 1 - np.clip((t - warm) / (1 - warm), 0, 1)),
        "step": 0.1 ** np.floor(np.clip(t, 0, 0.999) * 3),
        "one-cycle": np.where(t < 0.3, 0.04 + 0.96 * np.clip(t / 0.3, 0, 1), _half_cosine((t - 0.3) / 0.7)),
        "restarts": 0.02 + 0.98 * _half_cosine(np.clip(t, 0, 0.9999) * restarts % 1),
    }
    return np.asarray(shapes[law], dtype=np.float64)


def noise(law: str, rng: Generator, rows: int) -> FloatArray:
    """Noise [rows] of mean about 0 and spread about 1; minibatches leave it skewed to the right."""
    if law == "student":
        drawn = rng.standard_t(3, rows) / np.sqrt(3)
        return np.asarray(np.where(drawn < -2.5, -2.5 + 0.1 * (drawn + 2.5), drawn).clip(-3.5, 25))
    if law == "autocorrelated":
        phi = rng.choice([0.7, 0.9, 0.95])
        return autocorrelated(rng, rows, phi)
    if law == "minibatch":
        shape = rng.uniform(3, 12)
        return np.asarray((rng.gamma(shape, size=rows) - shape) / np.sqrt(shape))
    return rng.standard_normal(rows).clip(-4, None)


def autocorrelated(rng: Generator, rows: int, phi: float) -> FloatArray:
    """AR(1) noise [rows] with unit spread, exact to the truncation of its kernel."""
    length = max(1, min(rows, int(np.ceil(np.log(1e-4) / np.log(phi)))))
    kernel = phi ** np.arange(length)
    white = rng.standard_normal(rows + length - 1)
    return np.asarray(np.convolve(white, kernel, "valid") * np.sqrt(1 - phi**2))


def pace(law: str, rng: Generator, rows: int, seconds: float) -> FloatArray:
    """Seconds [rows] that each row took, when a usual one takes `seconds`."""
    taken = seconds * (1 + 0.04 * rng.standard_normal(rows)).clip(0.7, None)
    if law == "heavy-tailed":
        taken *= rng.lognormal(0, 0.25, rows)
        slow = rng.random(rows) < 0.01
        taken[slow] *= 2 + rng.pareto(2.5, int(slow.sum())).clip(0, 10)
    elif law == "pauses":
        every = int(rng.integers(40, max(41, min(500, rows // 4 + 2))))
        taken[every::every] += rng.uniform(10, 150) * seconds
    return taken


def _half_cosine(t: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(t, 0, 1))))


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number that is drawn evenly in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
