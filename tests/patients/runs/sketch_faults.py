"""Faults, drawn as people remember them who write down what went wrong last week."""

from __future__ import annotations

import math

import numpy as np

from patients.runs.case import Truth
from patients.runs.sketch import ANY, LONG, Draw, Needs, Sketch

HOT = "learning-rate-too-high"
RISING = ("loss-diverging", "loss-drifting-up", "loss-worse-than-chance", "loss-not-learning")


def ill(
    *codes: str, at: tuple[int, ...] = (), leads: tuple[str, ...] = (), fair: tuple[str, ...] = ()
) -> Truth:
    """What is true of a fault: the codes that name it, and the steps at which it began."""
    return Truth(codes[0], frozenset(codes), frozenset(codes + leads), frozenset(fair), at)


def blows_up_at_once(run: Sketch) -> Truth:
    run.loss = run.first * (1 + run.rng.uniform(0.5, 6) * run.t ** run.rng.uniform(0.3, 0.8))
    run.columns["learning_rate"] = np.full(run.rows, run.rng.choice([0.01, 0.05, 1e-3]))
    return ill("loss-diverging", at=(0,), leads=(HOT,), fair=(HOT, *RISING))


def blows_up_late(run: Sketch) -> Truth:
    row = run.row(0.4, 0.8)
    run.loss = run.loss * np.exp(run.rng.uniform(3, 9) * run.since(row)).clip(1, run.rng.uniform(4, 40))
    return ill("loss-diverging", at=(row * run.every,), leads=(HOT,), fair=(HOT, "loss-drifting-up"))


def creeps(run: Sketch) -> Truth:
    row = run.row(0.3, 0.5)
    run.loss = run.loss * (1 + run.rng.uniform(0.2, 0.6) * run.since(row))
    least = int(np.argmin(run.loss[: int(0.9 * run.rows)]))
    onsets = tuple(int(step) for step in np.linspace(row, max(row, least), 9) * run.every)
    return ill("loss-drifting-up", "loss-diverging", at=onsets, leads=(HOT,), fair=(HOT,))


def ends_in_nan(run: Sketch) -> Truth:
    row = run.row(0.1, 0.97)
    run.struck = dict.fromkeys(range(row, run.rows), math.nan)
    return ill("loss-not-finite", at=(row * run.every,), leads=(HOT,), fair=(HOT,))


def overflows_once(run: Sketch) -> Truth:
    row = run.row(0.1, 0.9)
    run.struck = dict.fromkeys(range(row, row + int(run.rng.integers(1, 4))), math.inf)
    return ill("loss-not-finite", at=(row * run.every,))


def spike_that_stays(run: Sketch) -> Truth:
    row = run.row(0.3, 0.8)
    after = np.arange(run.rows) >= row
    late = np.clip(np.arange(run.rows) - row, 0, None)
    stays = run.rng.uniform(0.4, 1.5)
    run.loss = run.loss * (
        1 + after * (stays + run.rng.uniform(2, 8) * np.exp(-late / max(2, 0.003 * run.rows)))
    )
    return ill(
        "loss-spike", at=(row * run.every,), leads=("loss-diverging",), fair=("loss-diverging", "loss-jump")
    )


def learns_nothing(run: Sketch) -> Truth:
    run.loss = np.full(run.rows, run.first)
    run.size = min(run.size, 0.04)
    return ill("loss-not-learning", at=(0,), fair=("loss-worse-than-chance",))


def one_value(run: Sketch) -> Truth:
    run.struck = dict.fromkeys(range(run.rows), run.first)
    return ill("loss-constant", "loss-not-learning", at=(0,))


def codes_die(run: Sketch) -> Truth:
    row = run.row(0.2, 0.7)
    gone = 1 - np.exp(-run.since(row) / run.rng.uniform(0.01, 0.1))
    usage = run.columns["codebook_usage"]
    run.columns["codebook_usage"] = usage * (1 - gone) + gone * run.rng.uniform(0.001, 0.06)
    run.loss = run.loss * (1 + run.rng.uniform(0, 0.6) * gone)
    if run.rng.random() < 0.4:
        run.sometimes("codebook_usage", int(run.rng.integers(40, 150)))
    return ill(
        "codebook-collapsed", at=(row * run.every,), fair=("loss-drifting-up", "loss-diverging", "loss-spike")
    )


def actions_die(run: Sketch) -> Truth:
    row = run.row(0.2, 0.7)
    gone = 1 - np.exp(-run.since(row) / run.rng.uniform(0.005, 0.05))
    run.columns["action_entropy"] = (
        run.columns["action_entropy"] * (1 - gone) + run.rng.uniform(0, 0.04) * gone
    )
    run.columns["unique_actions"] = np.where(
        gone > 0.9, 1, np.ceil(run.columns["unique_actions"] * (1 - gone))
    )
    if run.rng.random() < 0.4:
        for name in ("action_entropy", "unique_actions"):
            run.sometimes(name, int(run.rng.integers(40, 150)))
    return ill("actions-collapsed", at=(row * run.every,), fair=("loss-drifting-up", "actions-narrow"))


def entropy_blinks(run: Sketch) -> Truth:
    turns = int(run.rng.integers(4, 15))
    wave = np.sin(2 * np.pi * turns * run.t + run.rng.uniform(0, 6))
    on = (wave > 0).astype(np.float64) if run.rng.random() < 0.5 else 0.5 + 0.5 * wave
    run.columns["action_entropy"] = run.columns["action_entropy"] * on + 0.01
    run.columns["unique_actions"] = np.maximum(1, np.round(run.columns["unique_actions"] * on))
    low = np.flatnonzero(on < 0.1)
    return ill(
        "actions-unstable",
        at=(0, int(low[0]) * run.every),
        leads=("actions-collapsed",),
        fair=("actions-collapsed",),
    )


def half_as_fast(run: Sketch) -> Truth:
    row = run.row(0.3, 0.8)
    run.seconds[row:] *= run.rng.uniform(1.9, 2.6)
    return ill("throughput-dropped", at=(row * run.every,))


def hangs_for_hours(run: Sketch) -> Truth:
    row = run.row(0.2, 0.9)
    run.seconds[row] += run.rng.uniform(2, 9) * 3600
    return ill("run-stalled", at=((row - 1) * run.every, row * run.every), leads=("loader-hung",))


def rows_come_twice(run: Sketch) -> Truth:
    last = run.row(0.4, 0.9)
    back = max(12, int(run.rng.uniform(0.06, 0.3) * run.rows))
    first = max(0, last - back)
    run.order = np.concatenate([np.arange(last), np.arange(first, run.rows)])
    if run.rng.random() < 0.4:
        run.resets.append(last)
    return ill("steps-repeated", at=(first * run.every, last * run.every))


def forgets_its_optimizer(run: Sketch) -> Truth:
    row = run.row(0.3, 0.8)
    late = np.clip(np.arange(run.rows) - row, 0, None)
    heal = run.rng.uniform(0.03, 0.15) * run.rows
    run.loss = run.loss * (1 + (late > 0) * run.rng.uniform(0.5, 1.5) * np.exp(-late / heal))
    if run.rng.random() < 0.5:
        run.seconds[row] += run.rng.uniform(300, 3000)
    else:
        run.resets.append(row)
    return ill(
        "loss-jump",
        "loss-spike",
        at=(row * run.every,),
        leads=("optimizer-state-lost",),
        fair=("run-stalled",),
    )


def rate_of_zero(run: Sketch) -> Truth:
    row = 0 if run.rng.random() < 0.6 else run.row(0.1, 0.5)
    run.loss[row:] = run.loss[row]
    run.columns["learning_rate"][row:] = 0
    return ill("learning-rate-zero", at=(row * run.every,), fair=("loss-not-learning",))


def cold_start_at_full_rate(run: Sketch) -> Truth:
    lasts = run.rng.uniform(0.01, 0.04)
    shock = run.rng.uniform(0.5, 2.5) * np.exp(-run.t / lasts) * np.minimum(1, run.t / (0.2 * lasts))
    run.loss = run.first * shock + np.maximum(run.loss, run.last * run.rng.uniform(1, 1.8))
    run.columns["learning_rate"] = float(run.rng.choice([1e-3, 3e-3, 0.01])) * (
        0.5 + 0.5 * np.cos(np.pi * run.t)
    )
    return ill("learning-rate-no-warmup", at=(0,), leads=(HOT,), fair=(HOT, "loss-spike"))


def same_order_every_epoch(run: Sketch) -> Truth:
    epochs = run.rng.uniform(8, 40)
    phase = run.t * epochs % 1
    size = max(run.rng.uniform(0.15, 0.5), 2 * run.size)
    run.loss = run.loss * (1 + size * (phase if run.rng.random() < 0.5 else 1 - phase))
    return ill("loss-sawtooth", at=(0,), leads=("data-not-shuffled",))


def learns_by_heart(run: Sketch) -> Truth:
    row = run.row(0.15, 0.5)
    valid = run.loss * 1.05 + run.loss[row] * run.rng.uniform(0.4, 1.2) * run.since(row)
    run.loss = run.loss * (1 - 0.4 * run.since(row))
    run.columns["validation_loss"] = valid * (1 + 0.015 * run.rng.standard_normal(run.rows))
    if run.rng.random() < 0.8:
        run.sometimes("validation_loss", int(run.rng.integers(15, 100)))
    onsets = np.linspace(row, max(row, int(np.argmin(valid))), 9) * run.every
    return ill("overfitting", at=tuple(int(step) for step in onsets))


def too_hot(run: Sketch) -> Truth:
    planned = int(run.rng.uniform(2, 8) * run.rows) * run.every
    rate = float(run.rng.choice([0.005, 0.01, 0.03]))
    warm = np.minimum(1, (np.arange(run.rows) + 1) / max(1.0, run.rng.choice([0, 0.05, 0.2]) * run.rows))
    run.columns["learning_rate"] = (
        rate * warm * 0.5 * (1 + np.cos(np.pi * run.t * run.rows * run.every / planned))
    )
    run.config |= {"learning_rate": rate, "n_updates": planned, "needed": 1}
    turn = run.rng.uniform(0.005, 0.03)
    rise = run.rng.uniform(1, 4) * (1 - np.exp(-np.clip(run.t - turn, 0, None) / 0.2))
    run.loss = run.first * (0.8 + 0.2 * np.exp(-run.t / (turn / 3)) + rise)
    return ill(HOT, *RISING[:3], at=(0, int(turn * run.rows) * run.every), leads=(HOT,), fair=RISING)


FAULTS: dict[Draw, Needs] = {
    blows_up_at_once: (LONG, ANY, 0.05),
    blows_up_late: (LONG, ANY, 0.05),
    creeps: ((1000, 50_000), ANY, 0.04),
    ends_in_nan: (LONG, ANY, 0.05),
    overflows_once: (LONG, ANY, 0.05),
    spike_that_stays: (LONG, ANY, 0.05),
    learns_nothing: ((1000, 50_000), ("tokens", "classes", "language"), 0.02),
    one_value: (LONG, ANY, 0.05),
    codes_die: (LONG, ("pixels",), 0.05),
    actions_die: (LONG, ("frames",), 0.05),
    entropy_blinks: (LONG, ("frames",), 0.05),
    half_as_fast: (LONG, ANY, 0.05),
    hangs_for_hours: (LONG, ANY, 0.05),
    rows_come_twice: (LONG, ANY, 0.05),
    forgets_its_optimizer: ((600, 50_000), ANY, 0.05),
    rate_of_zero: (LONG, ANY, 0.03),
    cold_start_at_full_rate: ((1000, 50_000), ("tokens", "classes", "language"), 0.03),
    same_order_every_epoch: ((1000, 50_000), ANY, 0.05),
    learns_by_heart: (LONG, ANY, 0.05),
    too_hot: ((1000, 50_000), ANY, 0.05),
}
