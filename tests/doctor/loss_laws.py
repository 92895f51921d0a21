"""Simulated losses, healthy and sick, under several laws of noise; what loss detectors are held to."""

from __future__ import annotations

import math
from collections.abc import Callable
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


# ---------------------------------------------------------------- healthy


def plateau(seed: int) -> Made:
    w = law(seed)
    return made(w, w.noisy(w.clean()))


def plateau_only(seed: int) -> Made:
    """A tail: begins late, already converged."""
    w = law(seed)
    clean = np.full(w.rows, w.floor)
    m = made(w, w.noisy(clean))
    m.stage.history.columns["step"] += 3 * w.rows * w.every  # type: ignore[union-attr]
    return m


def power_law(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows)
    return made(w, w.noisy(w.start * (1 + rows / (0.01 * w.rows)) ** -0.35))


def noisy(seed: int) -> Made:
    w = law(seed, size=0.45, phi=float(np.random.default_rng(seed).choice([0.0, 0.5])))
    return made(w, w.noisy(w.clean()))


def bump(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows) / w.rows
    high, wide = w.rng.uniform(0.15, 0.6), w.rng.uniform(0.01, 0.05)
    shape = high * np.exp(-0.5 * ((rows - w.rng.uniform(0.3, 0.8)) / wide) ** 2)
    return made(w, w.noisy(w.clean() * (1 + shape)))


def spikes(seed: int) -> Made:
    w = law(seed)
    loss = w.noisy(w.clean())
    for row in w.rng.integers(w.rows // 10, w.rows - 5, int(w.rng.integers(1, 8))):
        after = np.arange(w.rows - row)
        loss[row:] *= 1 + w.rng.uniform(1, 6) * np.exp(-after / w.rng.uniform(1, 15))
    return made(w, loss)


def smoke(seed: int) -> Made:
    rows = int(np.random.default_rng(seed).integers(40, 300))
    w = law(seed, rows)
    w.tau = rows * float(w.rng.uniform(0.3, 2))
    w.every = 1
    return made(w, w.noisy(w.clean()))


def warm_up(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows)
    ends = int(w.rng.uniform(0.02, 0.08) * w.rows)
    clean = w.start * (0.55 + 0.45 * np.exp(-rows / (0.3 * ends)))
    clean *= 1 + 0.15 * np.exp(-0.5 * ((rows - ends) / (0.3 * ends)) ** 2)
    late = np.maximum(rows - ends, 0)
    clean = w.floor + (clean - w.floor) * np.exp(-late / w.tau)
    rate = 1e-3 * np.minimum(1, (rows + 1) / ends)
    return made(w, w.noisy(clean), learning_rate=rate)


def restarts(seed: int) -> Made:
    """Cosine restarts: at each the rate jumps up and the loss bumps and comes back."""
    w = law(seed)
    cycles = int(w.rng.integers(3, 7))
    phase = np.arange(w.rows) * cycles / w.rows % 1
    rate = 1e-3 * (0.5 + 0.5 * np.cos(np.pi * phase))
    clean = w.clean() * (1 + 0.25 * rate / 1e-3 * (np.arange(w.rows) > w.rows / cycles))
    with_rate = w.rng.random() < 0.7
    return made(w, w.noisy(clean), learning_rate=rate if with_rate else np.full(w.rows, np.nan))


def curriculum(seed: int) -> Made:
    """The task becomes harder once; learning goes on."""
    w = law(seed)
    rows, place = np.arange(w.rows), int(w.rng.uniform(0.35, 0.7) * w.rows)
    clean = w.clean()
    clean[place:] += (
        (0.08 + 0.2 * w.rng.random()) * (w.start - w.floor) * np.exp(-(rows[place:] - place) / w.tau)
    )
    return made(w, w.noisy(clean))


def resumed(seed: int) -> Made:
    """Resumed well: the clock starts again, some steps are taken twice, the loss goes on."""
    w = law(seed)
    place = int(w.rng.uniform(0.3, 0.8) * w.rows)
    back = int(0.02 * w.rows)
    loss = w.noisy(w.clean())
    take = np.concatenate([np.arange(place), np.arange(place - back, w.rows)])
    repeat = loss[take]
    repeat[place:] = loss[take[place:]] * np.exp(0.02 * w.rng.standard_normal(take.size - place))
    runtime = 0.5 * np.concatenate([np.arange(place), np.arange(take.size - place)])
    m = made(w, repeat[: w.rows])
    m.stage.history.columns.update(step=w.steps[take], loss=repeat, runtime=runtime)  # type: ignore[union-attr]
    return m


def negative(seed: int) -> Made:
    w = law(seed, start=1.05, floor=float(np.random.default_rng(seed).uniform(-3, -0.2)))
    spread = abs(w.start - w.floor) * 0.5
    return made(w, w.clean() + spread * np.clip(w.noise, -1, 1))


def near_zero(seed: int) -> Made:
    w = law(seed, start=2.0, floor=float(10 ** np.random.default_rng(seed).uniform(-7, -4)))
    return made(w, w.noisy(w.clean()))


def masking(seed: int) -> Made:
    """The masking ratio moves slowly and comes back."""
    w = law(seed)
    rows = np.arange(w.rows) / w.rows
    return made(w, w.noisy(w.clean() * (1 + 0.15 * np.sin(2 * np.pi * rows * w.rng.integers(2, 5)) ** 2)))


def gan(seed: int) -> Made:
    w = law(seed, start=1.2, floor=0.8)
    rows = np.arange(w.rows) / w.rows
    beat = 0.2 * np.sin(2 * np.pi * rows * w.rng.uniform(5, 40) + w.rng.uniform(0, 6))
    wander = 0.1 * ar1(w.rng, w.rows, 1 - 20 / w.rows, 30)
    return made(w, w.noisy(w.clean() * np.exp(beat + wander)))


def sparse(seed: int) -> Made:
    w = law(seed, int(np.random.default_rng(seed).integers(60, 400)))
    w.every = 100
    return made(w, w.noisy(w.clean()))


def cyclic_rate(seed: int) -> Made:
    w = law(seed, 6000)
    cycles = int(w.rng.integers(10, 30))
    phase = np.arange(w.rows) * cycles / w.rows % 1
    return made(w, w.noisy(w.clean() * (1 + 0.3 * (1 - phase))), learning_rate=1e-3 * (1.01 - phase))


def fast_converged(seed: int) -> Made:
    """Falls within the first hundredth."""
    w = law(seed)
    w.tau = max(3.0, 0.002 * w.rows)
    return made(w, w.noisy(w.clean()))


HEALTHY: dict[str, Callable[[int], Made]] = {
    f.__name__: f
    for f in (
        plateau, plateau_only, power_law, noisy, bump, spikes, smoke, warm_up, restarts, curriculum, resumed,
        negative, near_zero, masking, gan, sparse, cyclic_rate, fast_converged,
    )
}  # fmt: skip


# ---------------------------------------------------------------- sick


def diverging_start(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows) / w.rows
    clean = w.start * (1 + w.rng.uniform(1, 3) * (1 - np.exp(-rows / w.rng.uniform(0.1, 0.5))))
    return made(w, w.noisy(clean), "loss-diverging", "loss-drifting-up", onset=0)


def diverging_late(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows)
    place = int(w.rng.uniform(0.5, 0.85) * w.rows)
    since = np.maximum(rows - place, 0) / (w.rows - place)
    clean = w.clean() * np.exp(since * math.log(w.rng.uniform(2.5, 6)))
    return made(w, w.noisy(clean), "loss-diverging", onset=place)


def diverging_sudden(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows)
    place = int(w.rng.uniform(0.3, 0.85) * w.rows)
    top = w.start * w.rng.uniform(0.95, 1.5)
    clean = w.clean()
    clean[place:] = top - (top - clean[place:]) * np.exp(-(rows[place:] - place) / (0.005 * w.rows))
    return made(w, w.noisy(clean), "loss-diverging", onset=place)


def drifting(seed: int) -> Made:
    w = law(seed)
    rows = np.arange(w.rows)
    place = int(w.rng.uniform(0.3, 0.6) * w.rows)
    since = np.maximum(rows - place, 0) / (w.rows - place)
    clean = w.clean() * (1 + w.rng.uniform(0.25, 0.8) * since)
    return made(w, w.noisy(clean), "loss-drifting-up", "loss-diverging", onset=place)


def worse_than_chance(seed: int) -> Made:
    w = law(seed, start=7.1, floor=7.1)
    rows = np.arange(w.rows) / w.rows
    clean = 7.1 + w.rng.uniform(1, 8) * (1 - np.exp(-rows / w.rng.uniform(0.02, 0.5)))
    plan = Plan(codes=1024)
    divided = w.rng.random() < 0.5
    if divided:
        clean, plan = clean / 4, Plan(codes=1024, gradient_accumulation_steps=4)
    return made(w, w.noisy(clean), "loss-worse-than-chance", onset=0, plan=plan)


def not_learning(seed: int) -> Made:
    w = law(
        seed,
        start=math.log(1024),
        floor=math.log(1024),
        size=float(np.random.default_rng(seed).choice([0.003, 0.01, 0.02])),
    )
    clean = w.clean() * (1 + 0.08 * np.exp(-np.arange(w.rows) / 10))
    return made(
        w, w.noisy(clean), "loss-not-learning", onset=0, plan=Plan(codes=1024) if seed % 2 else Plan()
    )


def constant(seed: int) -> Made:
    w = law(seed)
    loss = np.full(w.rows, w.start)
    if seed % 3 == 0:
        loss = loss + 1e-7 * w.rng.standard_normal(w.rows) * w.start
    return made(w, loss, "loss-constant", onset=0)


def constant_late(seed: int) -> Made:
    w = law(seed)
    loss = w.noisy(w.clean())
    place = int(w.rng.uniform(0.3, 0.7) * w.rows)
    loss[place:] = loss[place]
    return made(w, loss, "loss-constant", onset=place)


def stuck_spike(seed: int) -> Made:
    w = law(seed)
    place = int(w.rng.uniform(0.3, 0.8) * w.rows)
    clean = w.clean()
    shift = (
        w.rng.uniform(0.2, 0.5) * (w.start - w.floor) if w.floor > 0.3 else w.rng.uniform(0.8, 3) * w.floor
    )
    after = np.arange(w.rows - place)
    clean[place:] += shift * (1 + w.rng.uniform(1, 4) * np.exp(-after / w.rng.uniform(2, 20)))
    return made(w, w.noisy(clean), "loss-spike", onset=place)


def jump(seed: int) -> Made:
    """Resumed without the optimizer's state: up at once, slowly back; the clock starts again or pauses."""
    w = law(seed)
    place = int(w.rng.uniform(0.3, 0.8) * w.rows)
    clean = w.clean()
    after = np.arange(w.rows - place)
    decay = w.rng.choice([0.03, 0.1, 1e9]) * w.rows
    clean[place:] *= 1 + w.rng.uniform(0.3, 1.0) * np.exp(-after / decay)
    runtime = 0.5 * np.arange(w.rows)
    if seed % 2:
        runtime[place:] -= runtime[place] - 5
    else:
        runtime[place:] += 7200
    return made(w, w.noisy(clean), "loss-jump", onset=place, runtime=runtime)


def sawtooth(seed: int) -> Made:
    w = law(seed)
    period = w.rows / w.rng.uniform(12, 60)
    phase = np.arange(w.rows) / period % 1
    size = max(0.15, 2.5 * float(w.noise.std())) * w.rng.uniform(1, 2)
    return made(w, w.noisy(w.clean() * (1 + size * phase)), "loss-sawtooth", onset=0, extra=period)


def divided(seed: int) -> Made:
    n = [2, 4, 8][seed % 3]
    w = law(seed, start=7.0, floor=2.5, size=0.03)
    plan = Plan(codes=1024, gradient_accumulation_steps=n)
    return made(w, w.noisy(w.clean()) / n, "loss-unit", onset=0, plan=plan)


def overfit(seed: int) -> Made:
    w = law(seed)
    every = max(1, w.rows // int(w.rng.integers(20, 100)))
    rows = np.arange(w.rows)
    place = int(w.rng.uniform(0.25, 0.6) * w.rows)
    w.tau = 0.25 * place
    train = w.clean() * np.exp(-0.5 * rows / w.rows)
    gap = 1.05 + w.rng.uniform(0.3, 1) * np.maximum(rows - place, 0) / (w.rows - place)
    valid = np.where(
        rows % every == 0, w.clean() * gap * np.exp(0.02 * w.rng.standard_normal(w.rows)), np.nan
    )
    return made(w, w.noisy(train), "overfitting", onset=place, validation_loss=valid)


def nan_stays(seed: int) -> Made:
    w = law(seed)
    loss = w.noisy(w.clean())
    place = int(w.rng.uniform(0.3, 0.95) * w.rows)
    loss[place:] = np.nan
    return made(w, loss, "loss-not-finite", onset=place)


def inf_recovers(seed: int) -> Made:
    w = law(seed)
    loss = w.noisy(w.clean())
    place = int(w.rng.uniform(0.3, 0.9) * w.rows)
    loss[place : place + int(w.rng.integers(1, 6))] = np.inf
    return made(w, loss, "loss-not-finite", onset=place)


SICK: dict[str, Callable[[int], Made]] = {
    f.__name__: f
    for f in (
        diverging_start, diverging_late, diverging_sudden, drifting, worse_than_chance, not_learning,
        constant, constant_late, stuck_spike, jump, sawtooth, divided, overfit, nan_stays, inf_recovers,
    )
}  # fmt: skip
