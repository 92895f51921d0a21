"""How losses are simulated, under several laws of noise: what `healthy_losses` and `sick_losses` share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from terrarium.doctor.evidence import Plan, StageEvidence
from terrarium.doctor.history import FloatArray, History


@dataclass
class Made:
    """A simulated run: its stage, what is wrong with it, and since when.

    Attributes:
        stage: the evidence.
        codes: codes that are right; empty where it is healthy.
        onset: the true step at which it began, or None where there is no such step.
    """

    stage: StageEvidence
    codes: tuple[str, ...] = ()
    onset: float | None = None
    extra: dict[str, float] = field(default_factory=dict)


def ar1(rng: np.random.Generator, rows: int, phi: float, tails: float) -> FloatArray:
    """Noise [rows] of unit variance: autoregressive, Student's t with `tails` degrees of freedom."""
    shocks = rng.standard_t(tails, rows) / math.sqrt(tails / (tails - 2))
    noise = np.empty(rows)
    noise[0] = shocks[0]
    gain = math.sqrt(1 - phi * phi)
    for row in range(1, rows):
        noise[row] = phi * noise[row - 1] + gain * shocks[row]
    return noise


@dataclass
class Law:
    """How a run's loss is made: a fall to a floor under multiplicative noise."""

    rng: np.random.Generator
    rows: int
    start: float
    floor: float
    every: int
    noise: FloatArray
    tau: float

    @property
    def steps(self) -> FloatArray:
        return np.arange(self.rows, dtype=np.float64) * self.every

    def clean(self) -> FloatArray:
        """The loss without noise [rows]: exponential or a power law."""
        rows = np.arange(self.rows)
        return self.floor + (self.start - self.floor) * np.exp(-rows / self.tau)

    def noisy(self, clean: FloatArray) -> FloatArray:
        return np.asarray(clean * np.exp(self.noise))


def law(seed: int, rows: int | None = None, **kwargs: float) -> Law:
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([1500, 3000, 6000, 12000])) if rows is None else rows
    phi = float(kwargs.get("phi", rng.choice([0.0, 0.5, 0.9, 0.95])))
    tails = float(rng.choice([3, 5, 30]))
    size = float(kwargs.get("size", rng.choice([0.02, 0.05, 0.1, 0.2])))
    start, floor = [(7.0, 2.5), (1.0, 0.03), (0.15, 0.0017), (2.3, 0.4)][int(rng.integers(4))]
    start, floor = float(kwargs.get("start", start)), float(kwargs.get("floor", floor))
    return Law(
        rng,
        rows,
        start,
        floor,
        int(rng.choice([1, 1, 10, 100])),
        size * ar1(rng, rows, phi, tails),
        rows * float(rng.uniform(0.02, 0.15)),
    )


def made(made_law: Law, loss: FloatArray, *codes: str, onset: float | None = None, **more: object) -> Made:
    columns: dict[str, FloatArray] = {
        "step": made_law.steps,
        "runtime": 0.5 * np.arange(1.0, loss.size + 1),
        "loss": loss,
    }
    bad = ~np.isfinite(loss)
    not_finite = {"loss": bad} if bad.any() else {}
    columns["loss"] = np.asarray(np.where(bad, np.nan, loss), np.float64)
    for name in ("learning_rate", "validation_loss", "runtime"):
        if name in more:
            columns[name] = more[name]  # type: ignore[assignment]
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    stage = StageEvidence(
        str(more.get("name", "dynamics")),
        source="history.csv",
        plan=more.get("plan", Plan()),  # type: ignore[arg-type]
        history=History(columns, not_finite),
    )
    return Made(stage, codes, None if onset is None else onset * made_law.every)
