"""Faults that the loss shows."""

from __future__ import annotations

import numpy as np

from patients.runs.case import Truth
from patients.runs.laws import autocorrelated
from patients.runs.measures import set_gradient, set_validation
from patients.runs.run import Bend, Needs, Run
from terrarium.doctor.history import FloatArray

SETTLING = ("exponential", "two-phase", "plateau")
HOT = "learning-rate-too-high"


def truth(
    *codes: str,
    leads: tuple[str, ...] = (),
    fair: tuple[str, ...] = (),
    onsets: tuple[int, ...] = (),
    severe: bool = True,
) -> Truth:
    """A truth whose codes may also lead; the first of them is the main one."""
    return Truth(codes[0], frozenset(codes), frozenset(codes + leads), frozenset(fair), onsets, severe)


def between(first: int, last: int) -> tuple[int, ...]:
    """Steps from one to another, where any place in between may be called the beginning."""
    return tuple(int(step) for step in np.linspace(first, last, 21))


def wander(run: Run, size: float) -> FloatArray:
    """Slow, rough ups and downs [N] about 1, as a loss out of control shows them."""
    return np.asarray(1 + size * autocorrelated(run.rng, run.rows, 0.98).clip(-2.5, 2.5))


def rise(run: Run, row: int, share: float) -> FloatArray:
    """0 before a row, then up to 1 with a time constant that is a share of the run."""
    return np.asarray(1 - np.exp(-(run.x - run.x[row]).clip(0, None) / share))


def diverges_from_the_start(run: Run) -> Truth:
    """It falls for a moment at most, then rises until it saturates."""
    turn = int(run.rng.uniform(0, 0.015) * run.rows)
    height = run.rng.uniform(0.6, 4)
    share = run.rng.uniform(0.08, 0.4)
    run.level = (run.level[min(turn, 20)] + height * rise(run, turn, share)) * wander(run, 0.05)
    run.unrest = 1 + rise(run, turn, share)
    return truth(
        "loss-diverging",
        leads=(HOT,),
        fair=(HOT, "loss-not-learning", "loss-drifting-up", "loss-worse-than-chance", "gradient-exploding"),
        onsets=(run.step_at(0), run.step_at(turn)),
    )


def diverges_late(run: Run) -> Truth:
    """After a good part of the run it climbs back to where it began, or beyond."""
    row = run.row_at(0.3, 0.75)
    climb = rise(run, row, run.rng.uniform(0.02, 0.1))
    top = run.rng.uniform(0.7, 2.0)
    run.level = (run.level + (top - run.level).clip(0.3, None) * climb) * (
        1 + (wander(run, 0.06) - 1) * climb
    )
    run.unrest = 1 + 1.5 * climb
    return truth(
        "loss-diverging",
        leads=(HOT,),
        fair=(HOT, "loss-drifting-up", "loss-spike", "gradient-exploding", "loss-worse-than-chance"),
        onsets=(run.step_at(row),),
    )


def creeps_up(run: Run) -> Truth:
    """It has settled, and then rises slowly for the rest of the run."""
    row = run.row_at(0.3, 0.55)
    least = 3.0 if run.law == "autocorrelated" else 1.2  # else nobody could tell it from its noise
    ramp = ((run.x - run.x[row]) / (1 - run.x[row])).clip(0, 1)
    run.level = run.level + max(run.rng.uniform(0.2, 0.6) * float(run.level[row]), least * run.spread) * ramp
    turn = int(np.argmin(run.level[run.rows // 5 :])) + run.rows // 5
    return truth(
        "loss-drifting-up",
        "loss-diverging",
        leads=(HOT,),
        fair=(HOT,),
        onsets=between(run.step_at(row), run.step_at(turn)),
    )


def becomes_nan(run: Run) -> Truth:
    """From some step on it is not a number; some trainers stop soon after."""
    row = run.row_at(0.03, 0.95)
    if run.rng.random() < 0.4:
        run.reorder(np.arange(min(run.rows, row + int(run.rng.integers(3, 60)))))
    run.struck = dict.fromkeys(range(row, run.rows), np.nan)
    if run.rng.random() < 0.4:
        before = rise(run, max(0, row - 20), 0.01)
        set_gradient(run, (0.3 + 0.7 * run.level) * (1 + 50 * before))
    else:
        set_gradient(run, 0.3 + 0.7 * run.level)
    run.columns["grad_norm"][row:] = np.nan
    return truth(
        "loss-not-finite",
        leads=("gradient-exploding", HOT),
        fair=("gradient-exploding", "gradient-not-finite", HOT),
        onsets=(run.step_at(row),),
    )


def nan_is_left_blank(run: Run) -> Truth:
    """Not a number from some step on, and written as an empty cell while other columns go on."""
    row = run.row_at(0.2, 0.8)
    run.blank = True
    run.struck = dict.fromkeys(range(row, run.rows), np.nan)
    return truth("loss-not-finite", onsets=(run.step_at(row),))


def inf_recovers(run: Run) -> Truth:
    """A row or a few overflow, and it goes on as before."""
    row = run.row_at(0.1, 0.85)
    run.struck = dict.fromkeys(range(row, min(run.rows - 5, row + int(run.rng.integers(1, 6)))), np.inf)
    return truth("loss-not-finite", fair=("loss-spike",), onsets=(run.step_at(row),))


def spike_stays(run: Run) -> Truth:
    """A spike, after which it never comes back to where it was."""
    row = run.row_at(0.3, 0.75)
    late = (run.x - run.x[row]).clip(0, None)
    after = run.x >= run.x[row]
    here = float(run.level[row])
    shift = max(run.rng.uniform(0.35, 1.5) * here, 2.5 * run.spread)
    height = max(run.rng.uniform(3, 15) * here, 10 * run.spread)
    lasts = max(0.003, 6 / run.rows)
    run.level = run.level + after * (
        shift * (0.8 + 0.2 * np.exp(-late / 0.1)) + height * np.exp(-late / lasts)
    )
    return truth(
        "loss-spike",
        "loss-jump",
        leads=("loss-diverging",),
        fair=("loss-diverging", "loss-drifting-up"),
        onsets=(run.step_at(row),),
    )


def never_learns(run: Run) -> Truth:
    """It stays where it began: at chance, where it is a cross entropy."""
    run.level = np.ones(run.rows) * (1 + 0.004 * run.rng.standard_normal())
    return truth(
        "loss-not-learning",
        leads=("gradient-vanishing",),
        fair=("loss-worse-than-chance",),
        onsets=(run.step_at(0),),
    )


def stays_at_chance(run: Run) -> Truth:
    """A cross entropy that never leaves that of guessing."""
    run.level = np.full(run.rows, 1 + 0.005 * run.rng.random())
    run.offset = 0.0
    return truth(
        "loss-not-learning",
        leads=("gradient-vanishing",),
        fair=("loss-worse-than-chance",),
        onsets=(run.step_at(0),),
    )


def is_constant(run: Run) -> Truth:
    """Every row has the very same loss: from the start, or from some step on."""
    row = 0 if run.rng.random() < 0.6 else run.row_at(0.2, 0.6)
    value = run.scale * (float(run.level[row]) + run.offset)
    run.struck = dict.fromkeys(range(row, run.rows), round(value, 4) or value)
    others = () if row else ("loss-not-learning",)
    return truth("loss-constant", *others, fair=("loss-not-learning",), onsets=(run.step_at(row),))


def saws(run: Run) -> Truth:
    """Data come in the same order in every epoch, and the loss follows them."""
    epochs = int(run.rng.integers(6, max(7, min(60, run.rows // 25))))
    phase = run.x * epochs % 1
    here = float(np.median(run.level))
    size = max(run.rng.uniform(0.2, 0.6) * here, 2 * run.spread)
    tooth = phase**1.3 if run.rng.random() < 0.6 else 1 - phase
    run.level = run.level + size * (tooth - 0.5) + 0.5 * size
    if run.rng.random() < 0.4:
        run.columns["epoch"] = np.floor(run.x * epochs)
    return truth("loss-sawtooth", leads=("data-not-shuffled", "shuffle-data"), onsets=(run.step_at(0),))


def overfits(run: Run) -> Truth:
    """Training goes on falling, validation turns and rises."""
    row = run.row_at(0.15, 0.5)
    gap = ((run.x - run.x[row]) / (1 - run.x[row])).clip(0, 1) ** run.rng.uniform(0.8, 1.3)
    run.level = run.level * (1 - 0.5 * gap)
    usual = run.level / (1 - 0.5 * gap)
    validation = 1.05 * usual + max(run.rng.uniform(0.25, 1.0), 0.3) * float(usual[row]) * gap
    set_validation(run, validation, run.rng.uniform(0.005, 0.02))
    turn = int(np.argmin(validation))
    return truth("overfitting", onsets=between(run.step_at(row), run.step_at(turn)))


def worse_than_chance(run: Run) -> Truth:
    """A cross entropy beyond that of guessing, sometimes hidden by a division through accumulation."""
    turn = int(run.rng.uniform(0.005, 0.02) * run.rows)
    run.level = np.maximum(0.85, 1 - np.arange(run.rows) / max(1, turn) * 0.15)
    run.level = (run.level + run.rng.uniform(0.8, 2.5) * rise(run, turn, 0.25)) * wander(run, 0.03)
    parts = int(run.rng.choice([1, 4, 8]))
    run.config["gradient_accumulation_steps"] = parts
    run.scale /= parts
    crossed = int(np.argmax(run.level > 1.1))
    return truth(
        "loss-worse-than-chance",
        "loss-diverging",
        leads=(HOT,),
        fair=(HOT, "loss-drifting-up", "loss-unit", "loss-not-learning"),
        onsets=between(run.step_at(0), run.step_at(crossed)),
    )


def loss_is_divided(run: Run) -> Truth:
    """A good run whose logged loss is an integer fraction of the real one."""
    parts = int(run.rng.choice([2, 4, 8]))
    run.config["gradient_accumulation_steps"] = parts
    run.scale /= parts
    return truth("loss-unit", leads=("divide-by-accumulation",), severe=False)


LOSS_FAULTS: dict[Bend, Needs] = {
    diverges_from_the_start: Needs(noise=(0.02, 0.12), signed=False),
    diverges_late: Needs(noise=(0.02, 0.12), floor=(0.03, 0.5)),
    creeps_up: Needs(rows=(600, 60_000), curves=SETTLING, floor=(0.1, 0.6), noise=(0.02, 0.12), signed=False),
    becomes_nan: Needs(),
    nan_is_left_blank: Needs(columns=("learning_rate",)),
    inf_recovers: Needs(),
    spike_stays: Needs(curves=SETTLING, noise=(0.02, 0.12), signed=False),
    never_learns: Needs(rows=(1000, 60_000), signed=False, noise=(0.005, 0.12)),
    stays_at_chance: Needs(rows=(1000, 60_000), chance=True, config=True, noise=(0.002, 0.03)),
    is_constant: Needs(),
    saws: Needs(rows=(600, 60_000), floor=(0.1, 0.6), noise=(0.02, 0.1), signed=False),
    overfits: Needs(columns=("validation_loss",), floor=(0.1, 0.5), signed=False),
    worse_than_chance: Needs(rows=(600, 60_000), chance=True, config=True, noise=(0.01, 0.05)),
    loss_is_divided: Needs(chance=True, config=True, floor=(0.3, 0.6), noise=(0.01, 0.05)),
}
