"""All kinds of runs, and how one is drawn."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.random import Generator

from patients.runs.case import Case, Config
from patients.runs.faulty_loss import LOSS_FAULTS
from patients.runs.faulty_measures import MEASURE_FAULTS
from patients.runs.faulty_pace import PACE_FAULTS
from patients.runs.files import STYLES
from patients.runs.healthy import HEALTHY
from patients.runs.laws import NOISES
from patients.runs.measures import complete
from patients.runs.run import Bend, Needs, Run, begin
from patients.runs.sketches import SKETCHES, sketch
from terrarium.doctor.history import FloatArray

OFTEN = {"runtime": 0.85, "learning_rate": 0.7, "grad_norm": 0.35, "validation_loss": 0.12}
"""How often trainers log what a kind does not ask for; other columns are logged half of the time."""


def _named(kinds: dict[Bend, Needs]) -> dict[str, tuple[Bend, Needs]]:
    return {bend.__name__.replace("_", "-"): (bend, needs) for bend, needs in kinds.items()}


FAULTY_KINDS = _named(LOSS_FAULTS | MEASURE_FAULTS | PACE_FAULTS)
HEALTHY_KINDS = _named(HEALTHY)
KINDS = FAULTY_KINDS | HEALTHY_KINDS


def draw(kind: str, seed: int) -> Case:
    """One run of a kind; the same one for the same seed.

    Args:
        kind: a key of `KINDS`, or one of `SKETCHES`.
        seed: even ones are for tuning, odd ones for reporting. Seven neighbours of one half have seven
            laws of noise.
    """
    if kind in SKETCHES:
        return sketch(kind, seed)
    place = zlib.crc32(kind.encode())
    rng = np.random.default_rng([seed, place])
    law = NOISES[(seed // 2 + place) % len(NOISES)]
    bend, needs = KINDS[kind]
    run = begin(rng, law, needs)
    truth = bend(run)
    complete(run)
    style = _style(rng, needs)
    columns = {name: values for name, values in _columns(run).items() if name in STYLES[style].names}
    logged = {name: there for name, there in run.logged.items() if name in columns}
    decimals = 4 if law == "quantised" and run.spread * run.scale > 3e-4 else None
    config = _config(rng, run, needs)
    return Case(kind, seed, run.stage, style, law, columns, logged, config, truth, decimals, run.blank)


def _columns(run: Run) -> dict[str, FloatArray]:
    """The columns that this run's trainer logs; always those that the kind needs."""
    columns = {"step": run.steps, "runtime": run.clock(), "loss": run.observe()}
    for name, values in (columns | run.columns).items():
        wanted = name in ("step", "loss", "epoch", *run.needs.columns)
        if wanted or (name not in run.needs.without and run.rng.random() < OFTEN.get(name, 0.5)):
            columns[name] = values
        else:
            columns.pop(name, None)
    return columns


def _style(rng: Generator, needs: Needs) -> str:
    fitting = [name for name, style in STYLES.items() if set(needs.columns) <= set(style.names)]
    return str(rng.choice(fitting))


def _config(rng: Generator, run: Run, needs: Needs) -> Config:
    given = rng.random() < 0.4 if needs.config is None else needs.config
    return run.config if given else {}
