"""Patients that train too slowly, not at all or twice, and healthy ones with odd clocks and gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from patients.courses import Maker, Patient, Random, any_law, clock, falling_loss, noise, patient
from terrarium.doctor.evidence import Plan, StageEvidence
from terrarium.doctor.history import FloatArray


def _rows(rng: Random, least: int = 600) -> int:
    return int(rng.integers(least, 8000))


def _seconds(rng: Random, rows: int) -> FloatArray:
    """Seconds of each row: heavy tails, and the slow waves of a machine that others use."""
    waves = 0.05 * noise(rng, rows, "autocorrelated") + 0.03 * np.sin(
        np.arange(rows) / rows * rng.uniform(3, 30)
    )
    return np.asarray(clock(rng, rows, float(10 ** rng.uniform(-0.7, 0.7)), any_law(rng)) * np.exp(waves))


def timed(rng: Random, seconds: FloatArray, onset: int | None = None, plan: Plan | None = None) -> Patient:
    rows, every = seconds.size, float(rng.choice([1, 1, 10]))
    columns = {
        "step": every * np.arange(rows),
        "runtime": np.cumsum(seconds),
        "loss": falling_loss(rng, rows),
    }
    return patient(columns, plan, None if onset is None else every * onset)


def slowed(rng: Random) -> Patient:
    rows = _rows(rng)
    at = int(rows * rng.uniform(0.25, 0.9))
    seconds = _seconds(rng, rows)
    seconds[at:] *= rng.uniform(1.4, 3)
    return timed(rng, seconds, at, Plan(steps=50 * rows))


def stuttering(rng: Random) -> Patient:
    """The loader can't keep up: a third of the steps waits for data."""
    rows = _rows(rng)
    at = int(rows * rng.uniform(0.25, 0.85))
    seconds = _seconds(rng, rows)
    seconds[at:] *= np.where(rng.random(rows - at) < 0.35, rng.uniform(3, 5), 1.0)
    return timed(rng, seconds, at)


def slowed_as_in_the_seed(rng: Random) -> Patient:
    """The published speeds, to the digit: 0.3701 steps per second overall, 0.2601 over the last 5,000."""
    rows, recent = 50_344, 5_000
    seconds = np.exp(0.1 * noise(rng, rows, "normal"))
    seconds[-recent:] *= recent / 0.2601 / seconds[-recent:].sum()
    early = seconds[1:-recent]  # the first row has no interval before it
    early *= (50_343 / 0.3701 - recent / 0.2601) / early.sum()
    return patient(
        {"step": np.arange(rows), "runtime": np.cumsum(seconds)}, Plan(steps=300_000), rows - recent
    )


def stalled(rng: Random) -> Patient:
    rows = _rows(rng, 300)
    at = int(rows * rng.uniform(0.05, 0.95))
    seconds = _seconds(rng, rows)
    seconds[at] += rng.uniform(1.5, 10) * 3600
    return timed(rng, seconds, at)


def resumed_twice(rng: Random) -> Patient:
    """A resume from a checkpoint, after which the steps since it are there twice."""
    rows = _rows(rng)
    killed, again = int(rows * rng.uniform(0.4, 0.9)), int(rows * rng.uniform(0.05, 0.2))
    loss, seconds = falling_loss(rng, rows), _seconds(rng, rows + again)
    step = np.concatenate([np.arange(killed), np.arange(killed - again, rows)])
    columns = {"step": step, "runtime": np.cumsum(seconds), "loss": loss[step]}
    return patient(columns, onset=float(killed - again))


def two_writers(rng: Random) -> Patient:
    rows = _rows(rng)
    at = int(rows * rng.uniform(0.0, 0.6))
    one = np.arange(rows)
    step = np.concatenate([one, one[at:]]) * 1.0
    written = np.concatenate([one, one[at:] + rng.uniform(3, 8)]) + rng.normal(0, 1.5, 2 * rows - at)
    order = np.argsort(written, kind="stable")
    loss = np.concatenate([falling_loss(rng, rows), falling_loss(rng, rows)[at:]])
    return patient({"step": step[order], "loss": loss[order]}, onset=float(at))


def gappy(rng: Random) -> Patient:
    rows = _rows(rng)
    at, width = int(rows * rng.uniform(0.1, 0.8)), max(20, int(rows * 0.05))
    step = np.delete(np.arange(rows), np.arange(at, at + width))
    return patient({"step": step, "loss": falling_loss(rng, step.size)}, onset=float(at))


def damaged(rng: Random) -> Patient:
    found = timed(rng, _seconds(rng, 300))
    history = found.stage.history
    assert history is not None
    return Patient(replace(found.stage, history=replace(history, damaged=7, lost_bytes=512)))


def idle(rng: Random) -> Patient:
    """The device waits, and everything has become slower."""
    rows = _rows(rng)
    at = int(rows * rng.uniform(0.3, 0.8))
    seconds, use = _seconds(rng, rows), np.full(rows, 0.93)
    seconds[at:] *= 2.5
    use[at:] = 0.3
    use = np.clip(use + 0.04 * rng.standard_normal(rows), 0, 1)
    columns = {"step": np.arange(rows), "runtime": np.cumsum(seconds), "device_use": use}
    return patient(columns, onset=float(at))


SICK: dict[str, dict[str, Maker]] = {
    "throughput-dropped": {"slowed": slowed, "stutter": stuttering, "seed": slowed_as_in_the_seed},
    "run-stalled": {"stalled": stalled},
    "steps-repeated": {"resume": resumed_twice, "two-writers": two_writers},
    "steps-missing": {"gap": gappy},
    "rows-damaged": {"damaged": damaged},
    "device-idle": {"idle": idle},
}


def ordinary(rng: Random) -> Patient:
    return timed(rng, _seconds(rng, _rows(rng)), plan=Plan(steps=10_000))


def validating(rng: Random) -> Patient:
    """Long rows at regular distances: validation, pictures, checkpoints, some of half an hour."""
    rows = _rows(rng)
    seconds = _seconds(rng, rows)
    every = int(rows / rng.uniform(3.2, 60))
    seconds[every::every] += rng.choice([20, 400, 1500]) * rng.uniform(0.7, 1.1, seconds[every::every].size)
    return timed(rng, seconds)


def pausing(rng: Random) -> Patient:
    """Single long rows at any time, of minutes: a compiler, a disk, somebody's lunch."""
    rows = _rows(rng)
    seconds = _seconds(rng, rows)
    seconds[rng.integers(0, rows, 8)] += rng.uniform(5, 600, 8)
    return timed(rng, seconds)


def crowded(rng: Random) -> Patient:
    """A machine that others use: minutes of slowness again and again, to the end of the run."""
    rows = _rows(rng, 1500)
    busy = np.zeros(rows)
    for _ in range(int(rng.integers(8, 20))):
        at, width = int(rng.integers(0, rows)), int(rows * rng.uniform(0.01, 0.04))
        busy[at : at + width] = rng.uniform(0.2, 0.7)
    return timed(rng, _seconds(rng, rows) * np.exp(busy))


def warming_up(rng: Random) -> Patient:
    """The first rows take long: compilation, caches."""
    rows = _rows(rng)
    seconds = _seconds(rng, rows)
    seconds[: rows // 50] *= np.linspace(6, 1, rows // 50)
    return timed(rng, seconds)


def speeding_up(rng: Random) -> Patient:
    rows = _rows(rng)
    seconds = _seconds(rng, rows)
    seconds[int(rows * rng.uniform(0.2, 0.8)) :] /= rng.uniform(1.3, 3)
    return timed(rng, seconds)


def slept(rng: Random) -> Patient:
    """Resumed hours later: the clock of each process begins at nothing, the steps go on."""
    rows = _rows(rng)
    at = int(rows * rng.uniform(0.2, 0.8))
    seconds = _seconds(rng, rows)
    runtime = np.concatenate([np.cumsum(seconds[:at]), np.cumsum(seconds[at:])])
    return patient({"step": np.arange(rows), "runtime": runtime, "loss": falling_loss(rng, rows)})


def larger_batches(rng: Random) -> Patient:
    """Half as many steps a second, each of twice as many frames."""
    rows = _rows(rng)
    at, seconds, frames = int(rows * 0.5), _seconds(rng, rows), np.full(rows, 256.0)
    seconds[at:], frames[at:] = 2 * seconds[at:], 512
    columns = {"step": np.arange(rows), "runtime": np.cumsum(seconds), "frames_per_second": frames / seconds}
    return patient(columns)


def without_a_clock(rng: Random) -> Patient:
    rows = _rows(rng)
    return patient({"step": np.arange(rows), "loss": falling_loss(rng, rows)})


def sampled(rng: Random) -> Patient:
    """Rows that an export took at random, 500 of many."""
    step = np.sort(rng.choice(40_000, 500, replace=False)) * 1.0
    step[0] = 0
    seconds = np.diff(step, prepend=-1.0) * 0.3
    return patient({"step": step, "runtime": np.cumsum(seconds), "loss": falling_loss(rng, 500)})


def several_rows_a_step(rng: Random) -> Patient:
    """Losses, rates and validation come as rows of their own."""
    rows = _rows(rng)
    step = np.repeat(np.arange(rows), 2) * 1.0
    loss, rate = np.full(2 * rows, np.nan), np.full(2 * rows, np.nan)
    loss[::2], rate[1::2] = falling_loss(rng, rows), 1e-4
    return patient({"step": step, "loss": loss, "learning_rate": rate})


def micro_batches(rng: Random) -> Patient:
    rows = _rows(rng)
    step = np.repeat(np.arange(rows // 4), 4) * 1.0
    seconds = _seconds(rng, step.size)
    return patient({"step": step, "runtime": np.cumsum(seconds), "loss": falling_loss(rng, step.size)})


def sparser_later(rng: Random) -> Patient:
    step = np.concatenate([np.arange(1000), 1000 + 100 * np.arange(400)]) * 1.0
    seconds = np.diff(step, prepend=-1.0) * 0.2
    return patient({"step": step, "runtime": np.cumsum(seconds), "loss": falling_loss(rng, step.size)})


def smoke(rng: Random) -> Patient:
    return timed(rng, clock(rng, int(rng.integers(5, 95)), 0.5, "tailed") * rng.uniform(0.5, 2))


HEALTHY: dict[str, Maker] = {
    "ordinary": ordinary,
    "validating": validating,
    "pausing": pausing,
    "crowded": crowded,
    "warming-up": warming_up,
    "speeding-up": speeding_up,
    "slept": slept,
    "larger-batches": larger_batches,
    "no-clock": without_a_clock,
    "sampled": sampled,
    "several-rows": several_rows_a_step,
    "micro-batches": micro_batches,
    "sparser": sparser_later,
    "smoke": smoke,
}


def unfinished_stage(rows: int = 400, planned: int = 1000) -> StageEvidence:
    """A healthy stage that stopped before its end."""
    rng = np.random.default_rng(5)
    return timed(np.random.default_rng(1), clock(rng, rows, 1.0, "normal"), plan=Plan(steps=planned)).stage
