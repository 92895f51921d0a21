"""A run while it is drawn: one expected curve, the noise about it, and what a configuration says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from patients.runs.case import Config, Truth
from terrarium.doctor.history import BoolArray, FloatArray

LAWS = ("white", "heavy", "sluggish", "fading", "skewed", "bursty", "rounded")
TASKS = {  # stage, first loss, last loss
    "tokens": ("dynamics", 7.0, 2.8),
    "pixels": ("video_tokenizer", 0.15, 0.004),
    "frames": ("latent_actions", 1.05, 0.05),
    "classes": ("training", 2.3, 0.35),
    "language": ("training", 10.8, 3.4),
}
ANY = tuple(TASKS)
LONG, SHORT = (400, 50_000), (30, 150)
"""Fewest and most rows of a run."""


@dataclass(eq=False)
class Sketch:
    """A run while it is drawn.

    Attributes:
        rng: of this run alone.
        t: 0 to 1 over the run [N].
        every: steps from row to row.
        loss: expected loss [N].
        law: of its noise.
        size: of its noise, relative.
        columns: other columns [N].
        seconds: from row to row [N].
        config: what a configuration beside it says.
        stage: its name.
        first: loss at the start.
        last: loss that it tends to.
        order: rows in the order of the file; None for all, once.
        resets: rows at which a new process starts its clock.
        struck: row -> loss as logged.
        logged: column -> rows that have it.
    """

    rng: Generator
    t: FloatArray
    every: int
    loss: FloatArray
    law: str
    size: float
    columns: dict[str, FloatArray]
    seconds: FloatArray
    config: Config
    stage: str
    first: float
    last: float
    order: np.ndarray | None = None
    resets: list[int] = field(default_factory=list)
    struck: dict[int, float] = field(default_factory=dict)
    logged: dict[str, BoolArray] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """N."""
        return self.t.size

    def row(self, low: float, high: float) -> int:
        """A row between two shares of the run."""
        return int(self.rng.uniform(low, high) * self.rows)

    def since(self, row: int) -> FloatArray:
        """0 until a row, then up to 1 at the end, linearly [N]."""
        return np.asarray(np.clip((np.arange(self.rows) - row) / max(1, self.rows - 1 - row), 0, None))

    def sometimes(self, column: str, times: int) -> None:
        """Let a column be logged now and then only."""
        there = np.zeros(self.rows, np.bool_)
        there[:: max(1, self.rows // times)] = True
        self.logged[column] = there


Draw = Callable[[Sketch], Truth]
Needs = tuple[tuple[int, int], tuple[str, ...], float]
"""Fewest and most rows; tasks of `TASKS`; relative size of the noise."""


def blank(rng: Generator, law: str, rows: tuple[int, int], tasks: tuple[str, ...], noise: float) -> Sketch:
    """A healthy run to draw on."""
    task = str(rng.choice(tasks))
    stage, first, last = TASKS[task]
    count = int(np.exp(rng.uniform(math.log(rows[0]), math.log(rows[1]))))
    every = int(rng.choice([1, 1, 10, 50, 100])) if count < 8000 else 1
    t = np.linspace(0, 1, count)
    fall = np.exp(-t * rng.uniform(8, 60)) if rng.random() < 0.6 else (1 + t * rng.uniform(30, 300)) ** -0.7
    rate = float(rng.choice([1e-4, 3e-4, 1e-3]))
    warm = np.minimum(1, (np.arange(count) + 1) / max(1, 0.03 * count))
    shape = warm * (0.5 + 0.5 * np.cos(np.pi * t)) if rng.random() < 0.5 else warm
    pace = rng.uniform(0.1, 2) * every * rng.lognormal(0, 0.15, count)
    config: Config = {"learning_rate": rate, "n_updates": count * every, "schedule": "cosine"}
    run = Sketch(
        rng, t, every, last + (first - last) * fall, law, noise, {"learning_rate": rate * shape}, pace,
        config, stage, first, last,
    )  # fmt: skip
    if stage == "latent_actions":
        config["n_actions"] = 8
        run.columns["action_entropy"] = math.log(8) * (0.75 + 0.05 * rng.standard_normal(count)).clip(0, 1)
        run.columns["unique_actions"] = rng.integers(6, 9, count).astype(np.float64)
    if stage == "video_tokenizer":
        run.columns["codebook_usage"] = (
            0.6 - 0.4 * np.exp(-t * 30) + 0.02 * rng.standard_normal(count)
        ).clip(0, 1)
    return run


def noise(run: Sketch) -> FloatArray:
    """Relative noise [N] of spread about one."""
    rng, rows = run.rng, run.rows
    white = rng.standard_normal(rows)
    if run.law == "heavy":
        return np.asarray(rng.standard_t(2.5, rows).clip(-3, 12) / 1.6)
    if run.law == "sluggish":
        kernel = 0.9 ** np.arange(80)
        return np.asarray(np.convolve(rng.standard_normal(rows + 79), kernel, "valid") * math.sqrt(1 - 0.81))
    if run.law == "fading":
        return np.asarray(white * (0.5 + 1.5 * np.exp(-4 * run.t)))
    if run.law == "skewed":
        return np.asarray(rng.gumbel(0, 0.78, rows) - 0.45)
    if run.law == "bursty":
        return np.asarray(white * np.where(rng.random(rows) < 0.03, 3.5, 0.9))
    return white
