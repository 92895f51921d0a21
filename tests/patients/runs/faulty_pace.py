"""Faults of time and of the way rows were written."""

from __future__ import annotations

import numpy as np

from patients.runs.case import Truth
from patients.runs.faulty_loss import SETTLING, between, truth
from patients.runs.measures import set_memory
from patients.runs.run import Bend, Needs, Run

HOUR = 3600.0


def throughput_halves(run: Run) -> Truth:
    """From some step on every step takes about twice as long."""
    row = run.row_at(0.2, 0.8)
    run.seconds[row:] *= run.rng.uniform(1.8, 3)
    return truth("throughput-dropped", onsets=(run.step_at(row),))


def throughput_fades(run: Run) -> Truth:
    """Something fills up, and it gets slower and slower."""
    row = run.row_at(0.1, 0.4)
    run.seconds *= 1 + run.rng.uniform(1.2, 3) * ((run.x - run.x[row]) / (1 - run.x[row])).clip(0, 1)
    return truth("throughput-dropped", onsets=between(run.step_at(row), run.step_at((row + run.rows) // 2)))


def stalls(run: Run) -> Truth:
    """Nothing for hours between one row and the next, once or a few times, with no restart."""
    rows = sorted(run.row_at(0.15, 0.9) for _ in range(int(run.rng.integers(1, 4))))
    for row in rows:
        usual = float(np.median(run.seconds))
        run.seconds[row] += max(run.rng.uniform(2, 12) * HOUR, 200 * usual)
    first = [run.step_at(rows[0] - 1), run.step_at(rows[0])]
    return truth("run-stalled", leads=("loader-hung",), fair=("throughput-dropped",), onsets=tuple(first))


def steps_repeat(run: Run) -> Truth:
    """A resume from far back whose rows were appended, or two writers at once."""
    row = run.row_at(0.4, 0.85)
    if run.rng.random() < 0.6:
        back = int(run.rng.uniform(0.15, 0.6) * row)
        begun, last = run.step_at(row - back), run.step_at(row - 1)
        run.rewind(row, back)
    else:
        until = min(run.rows, row + int(run.rng.uniform(0.1, 0.5) * run.rows))
        run.reorder(
            np.concatenate([np.arange(row), np.repeat(np.arange(row, until), 2), np.arange(until, run.rows)])
        )
        begun = last = run.step_at(row)
    return truth(
        "steps-repeated", leads=("several-writers", "run-one-launcher", "bad-resume"), onsets=(begun, last)
    )


def jumps_after_a_resume(run: Run) -> Truth:
    """The optimizer's state was lost: a jump at the resume that takes hundreds of steps to heal."""
    row = run.row_at(0.3, 0.75)
    size = max(run.rng.uniform(0.4, 1.5) * float(run.level[row]), 4 * run.spread)
    heal = max(run.rng.uniform(0.03, 0.1) * run.rows, 25)
    begun = run.step_at(row)
    if run.rng.random() < 0.7:
        back = int(run.rng.uniform(0.002, 0.015) * run.rows) + 1
        begun = run.step_at(row - back)
        run.rewind(row, back)
    else:
        run.clock_starts.append(row)
    since = np.arange(run.rows) - row
    run.level = run.level + size * np.exp(-since.clip(0, None) / heal) * (since >= 0)
    return truth(
        "loss-jump",
        leads=("optimizer-state-lost", "restore-optimizer-state"),
        fair=("loss-spike",),
        onsets=between(begun, begun + max(1, run.rows // 50) * run.interval),
    )


def memory_leaks(run: Run) -> Truth:
    """A little is kept in every step, and the planned end will not be reached."""
    last = float(run.steps[-1] - run.steps[0])
    pace = run.rng.uniform(1000, 8000) / last  # MiB a step
    lasts = max(1.0, (run.planned - float(run.steps[-1])) * run.rng.uniform(0.1, 0.7))
    set_memory(run, pace * (run.steps - run.steps[0]), pace * lasts)
    return truth("memory-growing", onsets=between(run.step_at(0), run.step_at(int(0.3 * run.rows))))


PACE_FAULTS: dict[Bend, Needs] = {
    throughput_halves: Needs(columns=("runtime",)),
    throughput_fades: Needs(columns=("runtime",), rows=(600, 60_000)),
    stalls: Needs(columns=("runtime",)),
    steps_repeat: Needs(),
    memory_leaks: Needs(
        columns=("process_memory", "memory_left"), rows=(300, 60_000), config=True, finished=False
    ),
    jumps_after_a_resume: Needs(
        columns=("runtime",), rows=(600, 60_000), curves=SETTLING, noise=(0.01, 0.08), signed=False
    ),
}
