"""Runs as people draw them who write down what went wrong last week: one curve, one fault, rough noise.

A second set beside the laws of `kinds`, with other noise, lengths and habits of logging, to see whether
the doctor knows faults or only knows the first set. Even seeds are for tuning, odd ones for reporting.
"""

from __future__ import annotations

import zlib

import numpy as np

from patients.runs.case import Case
from patients.runs.sketch import LAWS, blank, noise
from patients.runs.sketch_faults import FAULTS
from patients.runs.sketch_health import HEALTH

PREFIX = "sketch-"
ALL = {draw.__name__.replace("_", "-"): (draw, *needs) for draw, needs in (FAULTS | HEALTH).items()}
SKETCHES = tuple(PREFIX + kind for kind in ALL)
SKETCHED_FAULTS = SKETCHES[: len(FAULTS)]
SKETCHED_HEALTH = SKETCHES[len(FAULTS) :]


def sketch(kind: str, seed: int) -> Case:
    """One run of a kind of `SKETCHES`; the same one for the same seed."""
    bare = kind.removeprefix(PREFIX)
    place = zlib.crc32(f"sketch {bare}".encode())
    rng = np.random.default_rng([seed, place])
    law = LAWS[(seed // 2 + place) % len(LAWS)]
    draw, rows, tasks, size = ALL[bare]
    run = blank(rng, law, rows, tasks, size * rng.uniform(0.4, 1.6))
    truth = draw(run)
    loss = run.loss * np.maximum(0.05, 1 + run.size * noise(run))
    for row, value in run.struck.items():
        loss[row] = value
    runtime = np.cumsum(run.seconds)
    for row in run.resets:
        runtime[row:] -= runtime[row - 1]
    steps = np.arange(run.rows, dtype=np.float64) * run.every
    if "learning_rate" in run.columns and "needed" not in run.config:
        run.config["learning_rate"] = float(run.columns["learning_rate"].max())
    columns = {"step": steps, "runtime": runtime, "loss": loss, **run.columns}
    logged = dict(run.logged)
    if run.order is not None:
        again = np.diff(run.order, prepend=-1) <= 0
        columns = {name: values[run.order] for name, values in columns.items()}
        logged = {name: values[run.order] for name, values in logged.items()}
        columns["loss"] = columns["loss"] * (1 + 0.3 * run.size * rng.standard_normal(run.order.size))
        if not run.resets and again.any():
            columns["runtime"] = np.cumsum(run.seconds[run.order])
    style = str(rng.choice(["wandb-csv", "wandb-json", "ours"]))
    decimals = 3 if law == "rounded" and run.last > 0.05 else None
    config = run.config if rng.random() < 0.3 or "needed" in run.config else {}
    config = {name: value for name, value in config.items() if name != "needed"}
    return Case(PREFIX + bare, seed, run.stage, style, law, columns, logged, config, truth, decimals)
