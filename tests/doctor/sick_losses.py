"""Simulated losses of sick runs, each with the codes that are right and the step at which it began."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from loss_laws import Made, law, made

from terrarium.doctor.evidence import Plan


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
