"""Faults that show in what a run leaves behind, histories and pictures: told by the doctor."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faults.fault import Fault, Outcome
from patients import painters
from patients.pictures import figure, our_grid
from patients.runs.kinds import draw
from patients.runs.scoring import score
from patients.scenes import clips
from terrarium.doctor.examine import examine
from terrarium.doctor.finding import Severity
from terrarium.doctor.readers.gather import gather

SCENES = ("tile_world", "corridor", "platformer", "cave")
STEPS = (100, 200, 300, 400)


def logged(kind: str) -> Callable[[Path, int], Outcome]:
    """A run of a kind, drawn by a law of noise and written as some trainer writes it."""

    def inject(folder: Path, seed: int) -> Outcome:
        marks = score(draw(kind, 2 * seed + 1), folder)  # odd ones were never tuned on
        delay = None if math.isnan(marks.delay) else marks.delay
        return Outcome(marks.typed, cause=marks.lead, delay=delay)

    return inject


def healthy(kind: str) -> Callable[[Path, int], Outcome]:
    """A healthy run of a kind: whatever is said of it is a false alarm."""

    def inject(folder: Path, seed: int) -> Outcome:
        marks = score(draw(kind, 2 * seed + 1), folder, prefixes=False)
        return Outcome(bool(marks.alarms), detail=" ".join(marks.alarms))

    return inject


def painted(how: str) -> Callable[[Path, int], Outcome]:
    """What a model draws has collapsed in one way, in four pictures in a row."""
    paint = getattr(painters, how)

    def inject(folder: Path, seed: int) -> Outcome:
        rng, hang = np.random.default_rng(seed), (our_grid, figure)[seed % 2]  # ours, and TinyWorlds'
        for step in STEPS:
            truth = clips(SCENES[seed % len(SCENES)], seed + step)
            hang(folder / "dynamics", step, truth, paint(truth, rng))
        (folder / "dynamics" / "checkpoints").mkdir()
        found = [each for each in examine(gather([folder])).findings if each.code.startswith("picture-")]
        said = [each.code for each in found if each.severity is not Severity.INFO]
        return Outcome(bool(said), detail=" ".join(said))

    return inject


FAULTS = (
    Fault(26, "learning rate too high", logged("rate-is-too-high")),
    Fault(25, "learning rate not applied", logged("rate-is-not-applied")),
    Fault(27, "slow rise", logged("creeps-up")),
    Fault(29, "spike that stays", logged("spike-stays")),
    Fault(30, "loss becomes NaN", logged("becomes-nan")),
    Fault(31, "stuck at chance", logged("stays-at-chance")),
    Fault(33, "loss divided by accumulation", logged("loss-is-divided")),
    Fault(34, "codebook collapses", logged("codebook-collapses")),
    Fault(35, "actions collapse", logged("actions-collapse")),
    Fault(36, "pictures flat", painted("flat")),
    Fault(36, "pictures of blocks", painted("blocks")),
    Fault(36, "pictures of stripes", painted("stripes")),
    Fault(36, "pictures of tiles", painted("tiles")),
    Fault(36, "pictures of noise", painted("noise")),
    Fault(36, "pictures blurred", painted("heavy_blur")),
    Fault(38, "hours without a step", logged("stalls")),
    Fault(40, "throughput halves", logged("throughput-halves")),
    Fault(46, "steps logged twice", logged("steps-repeat")),
    Fault(0, "plain run", healthy("plain"), healthy=True),
    Fault(28, "spikes that recover", healthy("spikes-recover"), healthy=True),
    Fault(37, "pictures as they should be", painted("soft"), healthy=True),
    Fault(41, "pauses for evaluation", healthy("pauses-for-evaluation"), healthy=True),
    Fault(45, "laptop sleeps", healthy("laptop-sleeps"), healthy=True),
    Fault(0, "cosine restarts", healthy("cosine-restarts"), healthy=True),
    Fault(0, "small batches", healthy("small-batches"), healthy=True),
)
