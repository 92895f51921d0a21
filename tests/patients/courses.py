"""The ordinary course of a training, from which patients differ in one thing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.evidence import Plan, StageEvidence
from terrarium.doctor.history import FloatArray, History

Random: TypeAlias = np.random.Generator
Columns: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Patient:
    """A stage, and where its illness begins (a step; None where it is healthy)."""

    stage: StageEvidence
    onset: float | None = None


Maker: TypeAlias = Callable[[Random], Patient]


def patient(
    columns: Mapping[str, NDArray[Any]],
    plan: Plan | None = None,
    onset: float | None = None,
    name: str = "training",
) -> Patient:
    """A patient with these columns [rows] and this plan."""
    arrays = {key: np.asarray(values, float) for key, values in columns.items()}
    history = History(arrays, _not_finite(arrays))
    return Patient(StageEvidence(name, source="history.csv", plan=plan or Plan(), history=history), onset)


def _not_finite(columns: dict[str, FloatArray]) -> dict[str, np.ndarray]:
    """Only infinities are numbers that were logged: NaN stands for a row without the column."""
    found = {name: np.isinf(values) for name, values in columns.items() if np.isinf(values).any()}
    for name, infinite in found.items():
        columns[name] = np.where(infinite, np.nan, columns[name])
    return found


def noise(rng: Random, rows: int, law: str) -> FloatArray:
    """Noise [rows] of deviation about one: normal, autocorrelated, heavy-tailed or with rare spikes."""
    white = rng.standard_normal(rows)
    if law == "normal":
        return white
    if law == "tailed":
        return np.asarray(rng.standard_t(3, rows) / math.sqrt(3))
    if law == "spiky":
        return white + (rng.random(rows) < 0.005) * rng.exponential(8, rows)
    return _autoregressive(white, 0.9)


def _autoregressive(white_N: FloatArray, phi: float) -> FloatArray:
    """A stationary first-order autoregression of variance one, from white noise [N]."""
    values, last = np.empty_like(white_N), white_N[0]
    for row, shock in enumerate(white_N):
        last = phi * last + math.sqrt(1 - phi**2) * shock
        values[row] = last
    return values


def any_law(rng: Random) -> str:
    return str(rng.choice(["normal", "autocorrelated", "tailed", "spiky"]))


def falling_loss(rng: Random, rows: int, start: float = 7.0, floor: float = 2.5) -> FloatArray:
    """A loss [rows] that falls as a power of the step to a floor, with noise of any law."""
    share = np.arange(rows) / rows
    fallen = floor + (start - floor) * (1 + share * rng.uniform(20, 80)) ** -rng.uniform(0.6, 1.0)
    return np.asarray(fallen * np.exp(rng.uniform(0.01, 0.12) * noise(rng, rows, any_law(rng))))


SCHEDULES = ("constant", "cosine", "linear", "onecycle", "steps", "restarts", "ours")


def rates(
    schedule: str, rows: int, peak: float, planned: int | None = None, warmup: float = 0.03
) -> FloatArray:
    """Learning rates [rows] of a schedule over `planned` steps, with a warm-up over a share of them."""
    planned = planned or rows
    step = np.arange(rows)
    share = step / planned
    cosine = 0.5 * (1 + np.cos(np.pi * share))
    shape = {
        "constant": np.ones(rows),
        "cosine": cosine,
        "linear": 1 - share,
        "onecycle": np.where(
            share < 0.3, 0.04 + 0.96 * share / 0.3, np.maximum(1 - (share - 0.3) / 0.7, 1e-5)
        ),
        "steps": 0.1 ** np.floor(3 * share),
        "restarts": 0.5 * (1 + np.cos(np.pi * (4 * share % 1))),
        "ours": np.clip((1 - share) / 0.3, 0.01, 1),
    }[schedule]
    ramp = np.minimum(1, (step + 1) / max(1, warmup * planned)) if schedule != "onecycle" else 1.0
    return np.asarray(peak * shape * ramp)


def clock(rng: Random, rows: int, seconds: float = 1.0, law: str = "tailed") -> FloatArray:
    """Seconds that each row took [rows]: a heavy right tail, as on a machine that others use too."""
    return np.asarray(seconds * np.exp(np.abs(0.08 * noise(rng, rows, law))))
