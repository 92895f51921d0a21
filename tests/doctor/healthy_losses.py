"""Simulated losses of healthy runs: nothing may be said of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from loss_laws import Made, ar1, law, made


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
