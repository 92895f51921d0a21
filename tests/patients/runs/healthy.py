"""Runs that are well, however odd some of them look."""

from __future__ import annotations

import numpy as np

from patients.runs.case import Truth
from patients.runs.faulty_loss import SETTLING
from patients.runs.laws import PACES, autocorrelated, schedule
from patients.runs.measures import set_actions, set_memory, set_usage, set_validation
from patients.runs.run import Bend, Needs, Run

WELL = Truth()
HOUR = 3600.0


def plain(run: Run) -> Truth:
    """Nothing special at all."""
    del run
    return WELL


def plateau(run: Run) -> Truth:
    """Converged early, and rests there."""
    del run
    return WELL


def small_batches(run: Run) -> Truth:
    """Noise as large as the loss itself."""
    del run
    return WELL


def bumps(run: Run) -> Truth:
    """Slow ups and downs that come to nothing."""
    for _ in range(int(run.rng.integers(2, 6))):
        centre, width = run.rng.uniform(0.15, 0.85), run.rng.uniform(0.01, 0.03)
        height = run.rng.uniform(0.1, 0.35) * float(np.median(run.level))
        run.level = run.level + height * np.exp(-0.5 * ((run.x - centre) / width) ** 2)
    return WELL


def spikes_recover(run: Run) -> Truth:
    """Single batches or short stretches far above the rest, and back within a few rows."""
    for _ in range(int(run.rng.integers(1, 6))):
        row = run.row_at(0.1, 0.9)
        height = run.rng.uniform(2, 30) * float(np.median(run.level))
        lasts = run.rng.uniform(0.3, min(8, run.rows / 150))
        since = np.arange(run.rows) - row
        run.level = run.level + height * np.exp(-since.clip(0, None) / lasts) * (since >= 0)
    return WELL


def smoke_run(run: Run) -> Truth:
    """A few dozen rows, to see whether it starts at all."""
    run.planned = int(run.steps[-1] + 1)
    return WELL


def warm_up_rise(run: Run) -> Truth:
    """While the rate warms up the loss rests, or rises a little, and only then falls."""
    warm = run.rng.uniform(0.04, 0.1)
    bump = run.rng.uniform(0, 0.15) * np.exp(-0.5 * ((run.x - warm) / (warm / 3)) ** 2)
    fall = np.where(run.x < warm, 0, (run.x - warm) / (1 - warm))
    floor = float(run.level.min())
    run.level = floor + (1 - floor) * np.exp(-run.rng.uniform(6, 20) * fall) + bump
    shape = np.where(run.x < warm, run.x / warm, 0.5 * (1 + np.cos(np.pi * (run.steps / run.planned))))
    run.columns["learning_rate"] = float(run.config["learning_rate"]) * shape
    run.config["warmup_steps"] = int(warm * run.steps[-1])
    return WELL


def cosine_restarts(run: Run) -> Truth:
    """Every restart of the rate lifts the loss for a while."""
    run.columns["learning_rate"] = float(run.config["learning_rate"]) * schedule(
        "restarts", run.rng, run.steps / run.planned
    )
    rate = run.columns["learning_rate"] / run.columns["learning_rate"].max()
    size = run.rng.uniform(0.15, 0.5) * float(np.median(run.level))
    lifted = np.where(run.x > 0.02, rate, 0)
    run.level = run.level + size * lifted
    return WELL


def curriculum_step(run: Run) -> Truth:
    """Harder data from some step on: up by a step, and down again below where it was."""
    row = run.row_at(0.25, 0.5)
    late = (run.x - run.x[row]).clip(0, None) / (1 - run.x[row])
    size = run.rng.uniform(0.15, 0.4) * float(run.level[row])
    run.level = run.level + (run.x >= run.x[row]) * size * np.exp(-run.rng.uniform(5, 12) * late)
    run.level = run.level * (1 - 0.25 * late)
    return WELL


def clean_resume(run: Run) -> Truth:
    """Went on from a checkpoint: a few steps twice, or the clock anew, and nothing else."""
    row = run.row_at(0.2, 0.8)
    if run.rng.random() < 0.6:
        run.rewind(row, int(run.rng.uniform(0.001, 0.02) * run.rows) + 1)
    if run.rng.random() < 0.5:
        run.clock_starts.append(row)
    return WELL


def sparse_logging(run: Run) -> Truth:
    """A row every hundred steps or more."""
    del run
    return WELL


def only_the_tail(run: Run) -> Truth:
    """The first part of the history is not in the file."""
    run.reorder(np.arange(int(run.rows * run.rng.uniform(0.4, 0.8)), run.rows))
    return WELL


def learns_slowly(run: Run) -> Truth:
    """Falls all the time, and not by much."""
    fallen = run.rng.uniform(0.15, 0.35)
    run.level = 1 - fallen * run.x ** run.rng.uniform(0.6, 1.0)
    return WELL


def hardly_any_noise(run: Run) -> Truth:
    """Full batches: as smooth as a drawing."""
    del run
    return WELL


def adversaries(run: Run) -> Truth:
    """Two networks that push each other up and down, at no fixed pace."""
    phase = np.cumsum((1 + 0.5 * autocorrelated(run.rng, run.rows, 0.95)).clip(0.1, None))
    cycles = run.rng.uniform(8, 40)
    settled = 1 - np.exp(-run.x / 0.05)
    size = run.rng.uniform(0.15, 0.35)
    base = run.rng.uniform(0.5, 0.9)
    run.level = (
        base
        + (1 - base) * (1 - settled)
        + size * base * settled * np.sin(2 * np.pi * cycles * phase / phase[-1])
    )
    return WELL


def groks_late(run: Run) -> Truth:
    """It falls, rests for long, and falls again at last."""
    first, drop = run.rng.uniform(0.2, 0.4), run.rng.uniform(0.55, 0.85)
    start = np.exp(-run.x / 0.02)
    middle = run.rng.uniform(0.5, 0.8)
    late = 1 / (1 + np.exp(-(run.x - drop) / 0.02))
    run.level = middle + (1 - middle) * start - (1 - first) * middle * late
    return WELL


def pauses_for_evaluation(run: Run) -> Truth:
    """At a fixed beat it stops for minutes to evaluate and save."""
    every = int(run.rng.integers(max(10, run.rows // 60), max(20, run.rows // 8)))
    run.seconds[every::every] += run.rng.uniform(120, 900)
    return WELL


def laptop_sleeps(run: Run) -> Truth:
    """Closed for the night and resumed in the morning from the last checkpoint."""
    row = run.row_at(0.2, 0.8)
    run.rewind(row, int(run.rng.uniform(0.002, 0.02) * run.rows) + 1)
    run.seconds[row] += run.rng.uniform(4, 14) * HOUR
    return WELL


def few_actions_jitter(run: Run) -> Truth:
    """Four actions in small batches: their entropy trembles, far from nothing."""
    run.config["n_actions"] = 4
    set_actions(run, np.full(run.rows, run.rng.uniform(0.7, 0.9)), run.rng.uniform(0.04, 0.08))
    return WELL


def noisy_validation(run: Run) -> Truth:
    """A small validation set that says something else every time, and no trend."""
    set_validation(run, run.level * 1.08 + 0.02, run.rng.uniform(0.04, 0.12))
    return WELL


def steps_of_the_rate(run: Run) -> Truth:
    """The loss drops at every cut of the rate."""
    shape = schedule("step", run.rng, run.steps / run.planned)
    run.columns["learning_rate"] = float(run.config["learning_rate"]) * shape
    run.level = run.level * (0.75 + 0.25 * (1 + np.log10(shape) / 2))
    run.unrest = 0.4 + 0.6 * (1 + np.log10(shape) / 2)
    return WELL


def rate_ends_at_zero(run: Run) -> Truth:
    """The schedule runs out exactly where the run does."""
    run.columns["learning_rate"] = float(run.config["learning_rate"]) * (
        1 - np.arange(run.rows) / (run.rows - 1)
    )
    return WELL


def codes_come_alive(run: Run) -> Truth:
    """Hardly any code is used at first, and most of them in the end."""
    low, high = run.rng.uniform(0.01, 0.08), run.rng.uniform(0.4, 0.9)
    set_usage(run, low + (high - low) * (1 - np.exp(-run.x / run.rng.uniform(0.05, 0.3))))
    return WELL


def starts_at_full_rate(run: Run) -> Truth:
    """No warm-up, and none was needed."""
    run.config["warmup_steps"] = 0
    return WELL


def gradients_scatter(run: Run) -> Truth:
    """Norms over two orders of magnitude, with rare huge ones that clipping takes care of."""
    norms = (0.3 + 0.7 * run.level) * run.rng.lognormal(0, 0.7, run.rows)
    rare = run.rng.random(run.rows) < 0.003
    norms[rare] *= run.rng.uniform(10, 100, int(rare.sum()))
    run.columns["grad_norm"] = norms
    return WELL


def shared_machine(run: Run) -> Truth:
    """Speed goes up and down as neighbours come and go, and back."""
    run.seconds *= (1 + 0.2 * autocorrelated(run.rng, run.rows, 0.95)).clip(0.6, 1.7)
    row = run.row_at(0.2, 0.7)
    run.seconds[row : row + max(3, run.rows // 40)] *= 2
    return WELL


def memory_fills(run: Run) -> Truth:
    """Caches fill, garbage gathers and is collected, a longer clip comes along: it does not go on growing."""
    cache = 1 - np.exp(-run.x / run.rng.uniform(0.03, 0.25))
    saw = run.x * run.rng.uniform(4, 60) % 1
    stairs = sum((run.x >= run.rng.uniform(0.02, 0.8)).astype(float) for _ in range(3))
    shape = (cache, saw, stairs)[int(run.rng.integers(3))]
    set_memory(run, run.rng.uniform(200, 8000) * np.asarray(shape), run.rng.uniform(500, 5000))
    return WELL


def memory_grows_and_lasts(run: Run) -> Truth:
    """A little is kept in every step, and the run will be over long before that matters."""
    grown = run.rng.uniform(0, 500)
    lasts = grown * (run.planned / float(run.steps[-1]) - 1) * run.rng.uniform(3, 30)
    set_memory(run, grown * run.x, lasts + 500)
    return WELL


SETTLED = Needs(rows=(600, 60_000), curves=SETTLING)
HEALTHY: dict[Bend, Needs] = {
    plain: Needs(),
    plateau: Needs(rows=(1000, 60_000), curves=("plateau",), finished=True),
    small_batches: Needs(noise=(0.3, 0.7), floor=(0.1, 0.6), signed=False),
    bumps: SETTLED,
    spikes_recover: SETTLED,
    smoke_run: Needs(rows=(25, 250), intervals=(1,)),
    warm_up_rise: Needs(columns=("learning_rate",), schedules=("constant",), rows=(600, 60_000)),
    cosine_restarts: Needs(columns=("learning_rate",), rows=(600, 60_000), curves=SETTLING, finished=True),
    curriculum_step: SETTLED,
    clean_resume: Needs(columns=("runtime",)),
    sparse_logging: Needs(rows=(40, 300), intervals=(100, 200, 500)),
    only_the_tail: Needs(rows=(1000, 60_000)),
    learns_slowly: Needs(rows=(1000, 60_000), noise=(0.005, 0.1)),
    hardly_any_noise: Needs(noise=(0.0002, 0.002)),
    adversaries: Needs(rows=(1000, 60_000), signed=False),
    groks_late: Needs(rows=(1000, 60_000)),
    pauses_for_evaluation: Needs(columns=("runtime",)),
    laptop_sleeps: Needs(columns=("runtime",)),
    few_actions_jitter: Needs(stage="latent_actions", columns=("action_entropy", "unique_actions")),
    noisy_validation: Needs(columns=("validation_loss",), curves=SETTLING),
    steps_of_the_rate: Needs(columns=("learning_rate",), rows=(600, 60_000), finished=True),
    rate_ends_at_zero: Needs(columns=("learning_rate",), finished=True),
    codes_come_alive: Needs(stage="video_tokenizer", columns=("codebook_usage",)),
    starts_at_full_rate: Needs(
        columns=("learning_rate",), schedules=("constant", "cosine", "linear"), config=True
    ),
    gradients_scatter: Needs(columns=("grad_norm",)),
    memory_fills: Needs(columns=("process_memory", "memory_left")),
    memory_grows_and_lasts: Needs(
        columns=("process_memory", "memory_left"), rows=(300, 60_000), config=True, finished=False
    ),
    shared_machine: Needs(columns=("runtime",), paces=PACES, rows=(600, 60_000)),
}
