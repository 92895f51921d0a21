"""Patients with a wrong learning rate, and healthy ones of every schedule."""

from __future__ import annotations

import math

import numpy as np

from patients.courses import (
    SCHEDULES,
    Columns,
    Maker,
    Patient,
    Random,
    any_law,
    falling_loss,
    noise,
    patient,
    rates,
)
from terrarium.doctor.evidence import Plan
from terrarium.doctor.history import FloatArray


def some_rows(rng: Random) -> int:
    return int(rng.integers(600, 6000))


def norms(rng: Random, rows: int, level: float = 1.0) -> FloatArray:
    """Gradient norms: high at first, then even, with a heavy right tail."""
    early = 1 + rng.uniform(0, 6) * np.exp(-np.arange(rows) / (0.02 * rows))
    return np.asarray(level * early * np.exp(rng.uniform(0.1, 0.35) * noise(rng, rows, any_law(rng))))


def rated(rng: Random, rate: FloatArray, loss: FloatArray | None = None) -> Columns:
    rows = rate.size
    return {
        "step": float(rng.choice([1, 1, 10])) * np.arange(rows),
        "learning_rate": rate,
        "loss": falling_loss(rng, rows) if loss is None else loss,
    }


def rough(rng: Random, level_N: FloatArray) -> FloatArray:
    return np.asarray(level_N * np.exp(rng.uniform(0.01, 0.06) * noise(rng, level_N.size, any_law(rng))))


def zero_throughout(rng: Random) -> Patient:
    rows = int(rng.integers(100, 4000))
    loss = rough(rng, np.full(rows, 6.9))
    return patient(rated(rng, np.zeros(rows), loss), onset=0.0)


def schedule_too_short(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.3, 0.85))
    rate = rates(str(rng.choice(["cosine", "linear"])), rows, 1e-3, at)
    rate[at:] = 0
    columns = rated(rng, rate)
    return patient(columns, Plan(steps=2 * rows), columns["step"][at])


def remedy_not_applied(rng: Random) -> Patient:
    """A fifth of the rate was asked for at a restart; the scheduler's saved state put the old one back."""
    rows = some_rows(rng)
    rate, at = rates("cosine", rows, 1e-2, 6 * rows), int(0.6 * rows)
    columns = rated(rng, rate)
    columns["runtime"] = np.concatenate([np.arange(at), np.arange(rows - at)]) * 1.0
    return patient(columns, Plan("config.yaml", learning_rate=2e-3, schedule="cosine"), None)


def another_rate(rng: Random) -> Patient:
    rows = some_rows(rng)
    rate = rates(str(rng.choice(["constant", "cosine", "ours"])), rows, 1e-4)
    columns = rated(rng, rate)
    return patient(columns, Plan("config.yaml", learning_rate=float(rng.choice([3e-4, 1e-3]))), 0.0)


def schedule_started_over(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.55, 0.85))
    rate = rates("cosine", rows, 1e-3, rows)
    rate[at:] = rates("cosine", rows - at, 1e-3, rows, 0.0)
    columns = rated(rng, rate)
    columns["runtime"] = np.concatenate([np.arange(at), np.arange(rows - at)]) * 1.0
    return patient(columns, None, columns["step"][at])


def shocked(rng: Random) -> Patient:
    """The loss jumps up in the first steps and comes down late."""
    rows = some_rows(rng)
    share = np.arange(rows) / rows
    height, width = rng.uniform(2, 6), rng.uniform(0.01, 0.04)
    bump = height * (share / width) * np.exp(1 - share / width)
    loss = rough(rng, 3 + 4 / (1 + 15 * share) + bump)
    schedule = str(rng.choice(["constant", "cosine"]))
    return patient(rated(rng, rates(schedule, rows, rng.uniform(3e-4, 1.5e-3), warmup=0), loss), onset=0.0)


def shaken(rng: Random) -> Patient:
    """Spikes come thick in the first twentieth and hardly later."""
    rows = int(rng.integers(1500, 6000))
    loss = falling_loss(rng, rows)
    early = rng.random(rows) < 0.25 * (np.arange(rows) < 0.06 * rows)
    loss[early] = 7 * rng.uniform(1.5, 4, np.count_nonzero(early))
    return patient(rated(rng, rates("constant", rows, 1e-3, warmup=0), loss), onset=0.0)


def turning(rng: Random, rows: int, at: int, times: float) -> FloatArray:
    """A loss that falls until row `at` and then climbs to so many times what it was."""
    fallen = falling_loss(rng, rows)
    since = np.maximum(0, np.arange(rows) - at) / max(1, rows - at)
    return np.asarray(fallen * times ** (1 - np.exp(-4 * since)))


def too_high_for_its_horizon(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.02, 0.3))
    rate = rates("cosine", rows, float(rng.choice([5e-3, 1e-2, 2e-2])), 6 * rows, warmup=0)
    columns = rated(rng, rate, turning(rng, rows, at, rng.uniform(2, 5)))
    planned = int(6 * rows * (columns["step"][1] - columns["step"][0]))
    return patient(columns, Plan("config.yaml", steps=planned, schedule="cosine"), columns["step"][at])


def as_in_the_seed(rng: Random) -> Patient:
    rows = 50_344
    step = np.arange(rows)
    level = np.interp(step, [0, 600, 5e3, 15e3, 25e3, 35e3, 50_343], [1.78, 1.5, 3.6, 5.1, 5.75, 6.05, 6.6])
    columns = {"step": step, "learning_rate": rates("cosine", rows, 1e-2, 300_000, 0.0)}
    columns["loss"] = level * np.exp(0.05 * noise(rng, rows, "autocorrelated"))
    return patient(columns, Plan("state.pt", steps=300_000, learning_rate=1e-2, schedule="cosine"), 600.0)


def turns_at_the_peak(rng: Random) -> Patient:
    rows, warmup = some_rows(rng), float(rng.uniform(0.15, 0.3))
    rate = rates("constant", rows, float(rng.uniform(6e-4, 1.5e-3)), warmup=warmup)
    at = int(warmup * rows * rng.uniform(0.85, 1.0))
    columns = rated(rng, rate, turning(rng, rows, at, rng.uniform(2, 4)))
    return patient(columns, None, columns["step"][at])


def ends_in_nothing(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.2, 0.9))
    columns = rated(rng, rates("constant", rows, 2e-2, warmup=0))
    columns["loss"][at:] = np.inf
    return patient(columns, None, columns["step"][at])


SICK: dict[str, dict[str, Maker]] = {
    "learning-rate-zero": {"throughout": zero_throughout, "short-schedule": schedule_too_short},
    "learning-rate-not-applied": {
        "remedy": remedy_not_applied,
        "another": another_rate,
        "started-over": schedule_started_over,
    },
    "learning-rate-no-warmup": {"shocked": shocked, "shaken": shaken},
    "learning-rate-too-high": {
        "horizon": too_high_for_its_horizon,
        "seed": as_in_the_seed,
        "at-peak": turns_at_the_peak,
        "infinite": ends_in_nothing,
    },
}


def scheduled(rng: Random) -> Patient:
    """A healthy run of any schedule, whole, of any rate, planned or not."""
    rows, peak = some_rows(rng), float(10 ** rng.uniform(-4.5, -2.3))
    rate = rates(str(rng.choice(SCHEDULES)), rows, peak)
    columns = rated(rng, rate) | {"grad_norm": norms(rng, rows)}
    every = columns["step"][1]
    return patient(columns, Plan(steps=int(rows * every), learning_rate=peak) if rng.random() < 0.5 else None)


def partly_run(rng: Random) -> Patient:
    """The first part of a longer schedule."""
    rows, peak = some_rows(rng), float(10 ** rng.uniform(-4, -2.3))
    rate = rates(str(rng.choice(SCHEDULES)), rows, peak, int(rows * rng.uniform(1.2, 8)))
    return patient(rated(rng, rate), Plan(learning_rate=peak))


def tail_only(rng: Random) -> Patient:
    """The last part of a run: the beginning is in another file."""
    rows, peak = some_rows(rng), 1e-3
    cut = int(rows * rng.uniform(0.3, 0.8))
    columns = rated(rng, rates(str(rng.choice(["cosine", "linear", "ours"])), rows, peak))
    return patient({name: values[cut:] for name, values in columns.items()}, Plan(learning_rate=peak))


def without_warm_up(rng: Random) -> Patient:
    """No warm-up, and no harm from it."""
    rate = rates(str(rng.choice(["constant", "cosine", "linear"])), some_rows(rng), 1e-3, warmup=0)
    return patient(rated(rng, rate))


def resumed(rng: Random) -> Patient:
    """A clean resume: the few steps since the checkpoint are there again, with the same rates."""
    rows = some_rows(rng)
    at, back = int(rows * rng.uniform(0.4, 0.9)), int(rows * 0.005)
    columns = rated(rng, rates(str(rng.choice(SCHEDULES)), rows, 1e-3))
    order = np.concatenate([np.arange(at), np.arange(at - back, rows)])
    found = {name: values[order] for name, values in columns.items()}
    found["runtime"] = np.arange(order.size) * 0.5
    return patient(found, Plan(learning_rate=1e-3))


def bumpy(rng: Random) -> Patient:
    """Bumps and spikes of the loss that it comes back from, at a high rate."""
    rows = some_rows(rng)
    middle = rows * rng.uniform(0.15, 0.7)
    bump = 1 + 0.6 * np.exp(-(((np.arange(rows) - middle) / (0.03 * rows)) ** 2))
    loss = falling_loss(rng, rows) * bump
    loss[rng.integers(rows // 10, rows * 9 // 10, 5)] *= 4
    columns = rated(rng, rates("cosine", rows, 3e-3), loss) | {"grad_norm": norms(rng, rows) * bump**3}
    return patient(columns)


def plateau(rng: Random) -> Patient:
    rows = some_rows(rng)
    loss = rough(rng, 2.5 + 4 * np.exp(-np.arange(rows) / (0.02 * rows)))
    return patient(rated(rng, rates("constant", rows, 3e-3), loss) | {"grad_norm": norms(rng, rows)})


def short(rng: Random) -> Patient:
    rows = int(rng.integers(5, 95))
    loss = rough(rng, 7 - 2 * np.arange(rows) / rows)
    columns = rated(rng, rates("ours", rows, 1e-3, 1000, 0.1), loss) | {"grad_norm": norms(rng, rows)}
    return patient(columns, Plan(steps=1000, learning_rate=1e-3, warmup_steps=100))


HEALTHY: dict[str, Maker] = {
    "scheduled": scheduled,
    "partly-run": partly_run,
    "tail-only": tail_only,
    "no-warm-up": without_warm_up,
    "resumed": resumed,
    "bumpy": bumpy,
    "plateau": plateau,
    "short": short,
}


def low_rate_that_diverges(rng: Random) -> Patient:
    """Ill, but not of its rate: this is small, or zero, or long past its peak."""
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.5, 0.8))
    rate = [np.zeros(rows), np.full(rows, 3e-4), 8e-3 * np.exp(-6 * np.arange(rows) / rows)]
    loss = turning(rng, rows, at, math.e)
    return patient(rated(rng, rate[int(rng.integers(3))], loss))
