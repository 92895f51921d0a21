"""A healthy run as it is expected to go, row by row; kinds bend it, and only then is noise laid over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from patients.runs.case import Config, Truth
from patients.runs.laws import CURVES, PACES, SCHEDULES, curve, log_uniform, noise, pace, schedule
from terrarium.doctor.history import BoolArray, FloatArray

STAGES = ("dynamics", "latent_actions", "video_tokenizer", "training", "training", "training")


@dataclass(frozen=True)
class Needs:
    """What a kind asks of the run that it bends; every range is (lowest, highest).

    Attributes:
        rows: logged rows, drawn evenly in their logarithm.
        columns: that must be logged.
        without: columns that must not be.
        curves: laws of the loss.
        schedules: laws of the learning rate.
        paces: laws of time.
        noise: spread of the loss's noise over its median level.
        floor: lowest part of the loss over its first value.
        stage: its name, or "" for any.
        config: whether a configuration must lie beside; None where chance decides.
        chance: whether the loss is a cross entropy in nats, over a codebook that the configuration names.
        signed: whether the loss may be negative.
        intervals: steps between rows.
        finished: whether all planned steps were taken; None where chance decides.
    """

    rows: tuple[int, int] = (300, 60_000)
    columns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    curves: tuple[str, ...] = CURVES
    schedules: tuple[str, ...] = SCHEDULES
    paces: tuple[str, ...] = PACES
    noise: tuple[float, float] = (0.01, 0.12)
    floor: tuple[float, float] = (0.03, 0.6)
    stage: str = ""
    config: bool | None = None
    chance: bool = False
    signed: bool = True
    intervals: tuple[int, ...] = (1, 1, 10, 50)
    finished: bool | None = None


@dataclass(eq=False)
class Run:
    """A run before noise; all arrays [N] go by logged rows.

    Attributes:
        rng: of this case alone.
        needs: what was asked of it.
        law: of the loss's noise.
        steps: optimizer step.
        planned: optimizer steps that were asked for.
        level: expected loss, 1 at the start.
        unrest: factor on the noise.
        noise_size: spread of the noise.
        columns: everything else that may be logged, with its own noise.
        seconds: that each row took.
        config: what its configuration says.
        scale: of the loss as logged.
        offset: added to the level before scaling.
        stage: its name.
        interval: steps between rows.
        struck: row -> what was logged as its loss, whatever was expected.
        clock_starts: rows at which the clock begins anew.
        logged: column -> rows that have it.
        blank: whether what is not a number is left blank.
    """

    rng: Generator
    needs: Needs
    law: str
    steps: FloatArray
    planned: int
    level: FloatArray
    unrest: FloatArray
    noise_size: float
    columns: dict[str, FloatArray]
    seconds: FloatArray
    config: Config
    scale: float
    offset: float
    stage: str
    interval: int
    struck: dict[int, float] = field(default_factory=dict)
    clock_starts: list[int] = field(default_factory=list)
    logged: dict[str, BoolArray] = field(default_factory=dict)
    blank: bool = False

    @property
    def rows(self) -> int:
        """Rows that are logged."""
        return len(self.steps)

    @property
    def x(self) -> FloatArray:
        """How far along the run each row [N] is, 0 to 1."""
        return np.asarray((self.steps - self.steps[0]) / max(1.0, self.steps.max() - self.steps[0]))

    @property
    def spread(self) -> float:
        """Spread of the noise in units of the level."""
        return self.noise_size * float(np.median(self.level))

    def row_at(self, low: float, high: float) -> int:
        """A row somewhere between two shares of the run."""
        return int(np.searchsorted(self.x, self.rng.uniform(low, high)))

    def step_at(self, row: int) -> int:
        """The step of a row."""
        return int(self.steps[row])

    def reorder(self, rows: NDArray[np.int64]) -> None:
        """Let these rows be logged, in this order."""
        self.steps, self.level = self.steps[rows], self.level[rows]
        self.unrest, self.seconds = self.unrest[rows], self.seconds[rows]
        self.columns = {name: values[rows] for name, values in self.columns.items()}
        self.logged = {name: there[rows] for name, there in self.logged.items()}

    def rewind(self, row: int, back: int) -> None:
        """Go on, after the row before `row`, from `back` rows earlier: those steps are logged twice."""
        back = min(back, row)
        self.reorder(np.concatenate([np.arange(row), np.arange(row - back, self.rows)]))

    def observe(self) -> FloatArray:
        """The loss [N] as logged."""
        drawn = noise(self.law, self.rng, self.rows) * self.unrest
        size = self.noise_size
        if self.law == "multiplicative":
            seen = self.level * np.exp(size * drawn)
        elif self.law in ("decaying", "minibatch"):
            seen = self.level * (1 + size * drawn).clip(0.02, None)
        else:
            seen = self.level + self.spread * drawn
            seen = np.maximum(seen, 0.02 * np.abs(self.level))
        loss = self.scale * (seen + self.offset)
        for row, value in self.struck.items():
            loss[row] = value
        return np.asarray(loss)

    def clock(self) -> FloatArray:
        """Seconds [N] since the process began."""
        runtime = np.cumsum(self.seconds)
        for row in self.clock_starts:
            runtime[row:] -= runtime[row - 1]
        return runtime


Bend = Callable[[Run], Truth]


def begin(rng: Generator, law: str, needs: Needs) -> Run:
    """A healthy run that has what a kind needs."""
    rows = int(np.exp(rng.uniform(np.log(needs.rows[0]), np.log(needs.rows[1]))))
    interval = int(rng.choice(needs.intervals)) if rows < 20_000 else 1
    steps = np.arange(rows, dtype=np.float64) * interval + (interval if rng.random() < 0.3 else 0)
    stage = needs.stage or ("dynamics" if needs.chance else str(rng.choice(STAGES)))
    finished = rng.random() < 0.6 if needs.finished is None else needs.finished
    planned = int(steps[-1] + 1 if finished else steps[-1] * rng.uniform(1.3, 6))
    t = (steps - steps[0]) / max(1.0, steps[-1] - steps[0])
    floor = log_uniform(rng, *needs.floor)
    level = floor + (1 - floor) * curve(str(rng.choice(needs.curves)), rng, t)
    run = Run(
        rng,
        needs,
        law,
        steps,
        planned,
        level,
        np.ones(rows),
        log_uniform(rng, *needs.noise),
        {},
        pace(str(rng.choice(needs.paces)), rng, rows, interval * log_uniform(rng, 0.05, 3)),
        {},
        *_units(rng, needs),
        stage,
        interval,
    )
    _rates(run)
    _configure(run)
    return run


def _units(rng: Generator, needs: Needs) -> tuple[float, float]:
    """Scale and offset of the loss: thousandths to hundreds, now and then a log likelihood below zero."""
    if needs.chance:
        return float(np.log(1024)), rng.uniform(0, 0.03)
    scale = log_uniform(rng, 1e-3, 1e2) if rng.random() < 0.6 else rng.uniform(1, 11)
    return scale, (-rng.uniform(0.5, 2) if needs.signed and rng.random() < 0.1 else 0.0)


def _rates(run: Run) -> None:
    rng, law = run.rng, str(run.rng.choice(run.needs.schedules))
    peak = rng.choice([1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3]) if rng.random() < 0.8 else rng.choice([0.03, 0.1])
    run.columns["learning_rate"] = peak * schedule(law, rng, run.steps / run.planned)
    names = {"warm-up": "cosine", "step": "step", "one-cycle": "onecycle", "restarts": "cosine_restarts"}
    run.config |= {"learning_rate": float(peak), "schedule": names.get(law, law), "n_updates": run.planned}


def _configure(run: Run) -> None:
    rng, config = run.rng, run.config
    if run.stage == "latent_actions":
        config["n_actions"] = int(rng.choice([4, 8, 16]))
    if run.stage == "video_tokenizer" or run.needs.chance:
        config["codebook_size"] = 1024 if run.needs.chance else int(rng.choice([256, 512, 1024]))
    if rng.random() < 0.4:
        config["gradient_accumulation_steps"] = 1
    if rng.random() < 0.5:
        config["batch_size"] = int(rng.choice([8, 16, 32, 64, 256]))
