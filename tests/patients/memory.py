"""Patients that take more and more memory, and healthy ones whose memory only looks like that."""

from __future__ import annotations

import numpy as np

from patients.courses import Maker, Patient, Random, clock, falling_loss, noise, patient
from terrarium.doctor.evidence import Plan
from terrarium.doctor.history import FloatArray

MACHINE = 16_000.0  # MiB


def holding(
    rng: Random, used: FloatArray, planned: float, onset: float | None = None, again: int | None = None
) -> Patient:
    """A training that holds so many MiB [rows], with a little unrest, on a machine that others use too.

    Args:
        rng: of this patient.
        used: MiB.
        planned: steps, as a multiple of the rows.
        onset: where its illness begins.
        again: the row at which another process went on, whose clock begins at nothing.
    """
    rows, cut = used.size, 0 if again is None else again
    runtime = np.cumsum(clock(rng, rows))
    runtime[cut:] -= runtime[cut - 1] if cut else 0
    unrest = rng.uniform(0, 3) * np.abs(noise(rng, rows, "tailed"))
    others = 500 * np.abs(noise(rng, rows, "autocorrelated"))
    columns = {
        "step": np.arange(rows),
        "runtime": runtime,
        "loss": falling_loss(rng, rows),
        "process_memory": np.round(used + unrest, 1),
        "memory_left": np.round(np.maximum(0, MACHINE - used - others), 1),
    }
    return patient(columns, Plan(steps=int(planned * rows)), onset)


def _rows(rng: Random) -> int:
    return int(rng.integers(300, 5000))


def _warm(rng: Random, rows: int) -> FloatArray:
    """What any training takes: a level, and buffers that fill at the beginning."""
    fills = 1 - np.exp(-np.arange(rows) / rng.uniform(5, 30))
    return np.asarray(rng.uniform(300, 3000) + rng.uniform(50, 800) * fills)


def leaks(rng: Random) -> Patient:
    """A little is kept in every step, from the first on."""
    rows = _rows(rng)
    kept = rng.uniform(2000, 9000) / rows * np.arange(rows)
    return holding(rng, _warm(rng, rows) + kept, planned=20, onset=0)


def leaks_now_and_then(rng: Random) -> Patient:
    """Something is kept at every validation."""
    rows = _rows(rng)
    every = max(5, rows // int(rng.integers(30, 80)))
    kept = rng.uniform(2000, 9000) * np.floor(np.arange(rows) / every) * every / rows
    return holding(rng, _warm(rng, rows) + kept, planned=20, onset=0)


def leaks_after_a_resume(rng: Random) -> Patient:
    """The second process begins with little, and leaks as the first did."""
    rows = _rows(rng)
    half = rows // 2
    kept = rng.uniform(3000, 9000) / rows * np.concatenate([np.arange(half), np.arange(rows - half)])
    return holding(rng, 400 + kept, planned=20, onset=0, again=half)


SICK: dict[str, dict[str, Maker]] = {
    "memory-growing": {"leak": leaks, "at-validation": leaks_now_and_then, "resumed": leaks_after_a_resume}
}


def steady(rng: Random) -> Patient:
    return holding(rng, _warm(rng, _rows(rng)), planned=20)


def fills_a_cache(rng: Random) -> Patient:
    """Decoded footage is kept, until all of it is there."""
    rows = _rows(rng)
    fills = 1 - np.exp(-np.arange(rows) / (rows * rng.uniform(0.05, 0.3)))
    return holding(rng, _warm(rng, rows) + rng.uniform(500, 6000) * fills, planned=20)


def collects(rng: Random) -> Patient:
    """Garbage gathers and is collected, again and again."""
    rows = _rows(rng)
    period = int(rng.integers(20, max(21, rows // 4)))
    return holding(rng, _warm(rng, rows) + rng.uniform(200, 3000) * (np.arange(rows) % period) / period, 20)


def stairs(rng: Random) -> Patient:
    """Longer clips, a first validation, a first picture: up at once, and flat."""
    rows, used = _rows(rng), np.zeros(1)
    used = _warm(rng, rows)
    for place in rng.uniform(0.02, 0.7, int(rng.integers(1, 4))):
        used[int(place * rows) :] += rng.uniform(100, 1500)
    return holding(rng, used, planned=20)


def grows_a_little(rng: Random) -> Patient:
    """Fragmentation, logs: it would last for years."""
    rows = _rows(rng)
    return holding(rng, _warm(rng, rows) + rng.uniform(0, 60) * np.arange(rows) / rows, planned=3)


def leaks_but_lasts(rng: Random) -> Patient:
    """It grows, and the run will be over long before that matters: information."""
    rows = _rows(rng)
    return holding(rng, _warm(rng, rows) + 400 / rows * np.arange(rows), planned=1.5)


HEALTHY: dict[str, Maker] = {
    "memory-steady": steady,
    "memory-cache": fills_a_cache,
    "memory-garbage": collects,
    "memory-stairs": stairs,
    "memory-a-little": grows_a_little,
    "memory-lasts": leaks_but_lasts,
}
