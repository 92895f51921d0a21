"""Healthy runs that look ill to a hasty eye."""

from __future__ import annotations

import numpy as np

from patients.runs.case import Truth
from patients.runs.sketch import ANY, LONG, SHORT, Draw, Needs, Sketch

WELL = Truth()


def rests(run: Sketch) -> Truth:
    run.loss = run.last * (1 + 3 * np.exp(-run.t * 80))
    return WELL


def tiny_batches(run: Sketch) -> Truth:
    run.size = run.rng.uniform(0.25, 0.5)
    return WELL


def hill(run: Sketch) -> Truth:
    centre, width = run.rng.uniform(0.3, 0.75), run.rng.uniform(0.01, 0.04)
    run.loss = run.loss * (1 + run.rng.uniform(0.2, 0.6) * np.exp(-(((run.t - centre) / width) ** 2)))
    return WELL


def spikes(run: Sketch) -> Truth:
    for _ in range(int(run.rng.integers(2, 12))):
        row = run.row(0.05, 0.95)
        late = np.clip(np.arange(run.rows) - row, 0, None)
        run.loss = run.loss * (
            1 + (late >= 0) * (np.arange(run.rows) >= row) * run.rng.uniform(1, 10) * np.exp(-late / 3)
        )
    return WELL


def smoke(run: Sketch) -> Truth:
    run.every = 1
    run.loss = run.first - (run.first - run.last) * run.rng.uniform(0.02, 0.6) * run.t
    return WELL


def slow_warm_up(run: Sketch) -> Truth:
    warm = run.rng.uniform(0.05, 0.15)
    late = np.clip((run.t - warm) / (1 - warm), 0, None)
    run.loss = run.last + (run.first - run.last) * (0.85 + 0.15 * np.exp(-run.t / 0.01)) * np.exp(-12 * late)
    run.columns["learning_rate"] = 1e-3 * np.minimum(1, run.t / warm)
    return WELL


def restarts(run: Sketch) -> Truth:
    phase = run.t * int(run.rng.integers(2, 6)) % 1
    run.columns["learning_rate"] = 1e-3 * (0.5 + 0.5 * np.cos(np.pi * phase))
    run.loss = run.loss * (1 + run.rng.uniform(0.1, 0.4) * (1 - phase) * (run.t > 0.1))
    return WELL


def sparse_columns(run: Sketch) -> Truth:
    for name in list(run.columns):
        run.sometimes(name, int(run.rng.integers(10, 60)))
    run.columns["validation_loss"] = run.loss * 1.1 * (1 + 0.03 * run.rng.standard_normal(run.rows))
    run.sometimes("validation_loss", int(run.rng.integers(8, 40)))
    return WELL


def understands_late(run: Sketch) -> Truth:
    drop = run.rng.uniform(0.5, 0.9)
    run.loss = run.first * (0.25 + 0.15 * np.exp(-run.t * 40) + 0.5 / (1 + np.exp((run.t - drop) / 0.01)))
    return WELL


def harder_lessons(run: Sketch) -> Truth:
    for place in (0.3, 0.6):
        late = np.clip(run.t - place, 0, None)
        run.loss = run.loss * (1 + (run.t >= place) * run.rng.uniform(0.08, 0.25) * np.exp(-late / 0.06))
    return WELL


def last_cut(run: Sketch) -> Truth:
    run.columns["learning_rate"] = 1e-3 * np.where(run.t < 0.7, 1, 1 - (run.t - 0.7) / 0.3)
    run.loss = run.loss * (1 - 0.25 * np.clip((run.t - 0.7) / 0.3, 0, 1))
    return WELL


def goes_on(run: Sketch) -> Truth:
    row = run.row(0.3, 0.8)
    if run.rng.random() < 0.5:
        run.order = np.concatenate([np.arange(row), np.arange(row - max(1, run.rows // 60), run.rows)])
    run.seconds[row] += run.rng.uniform(60, 1200)
    return WELL


def stops_to_evaluate(run: Sketch) -> Truth:
    run.seconds[:: max(5, run.rows // int(run.rng.integers(5, 40)))] += run.rng.uniform(60, 900)
    return WELL


def wanders(run: Sketch) -> Truth:
    slow = np.sin(2 * np.pi * run.rng.uniform(1.5, 4) * run.t + run.rng.uniform(0, 6))
    run.loss = run.loss * (1 + run.rng.uniform(0.03, 0.1) * slow)
    return WELL


def coarse_log(run: Sketch) -> Truth:
    level = run.last + (run.first - run.last) * np.exp(-run.t * 40)
    values = np.round(level * (1 + 0.1 * run.rng.standard_normal(run.rows)), 2)
    run.struck = {row: float(value) for row, value in enumerate(values)}
    return WELL


def weight_of_a_term_grows(run: Sketch) -> Truth:
    run.loss = run.loss + run.last * 0.12 * np.clip(run.t / 0.3, 0, 1)
    return WELL


HEALTH: dict[Draw, Needs] = {
    rests: (LONG, ANY, 0.08),
    tiny_batches: (LONG, ANY, 0.3),
    hill: (LONG, ANY, 0.05),
    spikes: (LONG, ANY, 0.05),
    smoke: (SHORT, ANY, 0.05),
    slow_warm_up: (LONG, ANY, 0.05),
    restarts: (LONG, ANY, 0.05),
    sparse_columns: (LONG, ANY, 0.05),
    understands_late: (LONG, ANY, 0.05),
    harder_lessons: (LONG, ANY, 0.05),
    last_cut: (LONG, ANY, 0.05),
    goes_on: (LONG, ANY, 0.05),
    stops_to_evaluate: (LONG, ANY, 0.05),
    wanders: (LONG, ANY, 0.05),
    coarse_log: (LONG, ("frames", "classes", "tokens"), 0.05),
    weight_of_a_term_grows: (LONG, ANY, 0.05),
}
