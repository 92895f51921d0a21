"""Runs as people draw them who write down what went wrong last week: one curve, one fault, rough noise.

A second set beside the laws of `kinds`, with other noise, lengths and habits of logging, to see whether
the doctor knows faults or only knows the first set. Even seeds are for tuning, odd ones for reporting.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from patients.runs.case import Case, Config, Truth
from terrarium.doctor.history import BoolArray, FloatArray

PREFIX = "sketch-"
LAWS = ("white", "heavy", "sluggish", "fading", "skewed", "bursty", "rounded")
TASKS = {  # stage, first loss, last loss
    "tokens": ("dynamics", 7.0, 2.8),
    "pixels": ("video_tokenizer", 0.15, 0.004),
    "frames": ("latent_actions", 1.05, 0.05),
    "classes": ("training", 2.3, 0.35),
    "language": ("training", 10.8, 3.4),
}


@dataclass(eq=False)
class Sketch:
    """A run while it is drawn.

    Attributes:
        rng: of this run alone.
        t: 0 to 1 over the run [N].
        every: steps from row to row.
        loss: expected loss [N].
        law: of its noise.
        size: of its noise, relative.
        columns: other columns [N].
        seconds: from row to row [N].
        config: what a configuration beside it says.
        stage: its name.
        first: loss at the start.
        last: loss that it tends to.
        order: rows in the order of the file; None for all, once.
        resets: rows at which a new process starts its clock.
        struck: row -> loss as logged.
        logged: column -> rows that have it.
    """

    rng: Generator
    t: FloatArray
    every: int
    loss: FloatArray
    law: str
    size: float
    columns: dict[str, FloatArray]
    seconds: FloatArray
    config: Config
    stage: str
    first: float
    last: float
    order: np.ndarray | None = None
    resets: list[int] = field(default_factory=list)
    struck: dict[int, float] = field(default_factory=dict)
    logged: dict[str, BoolArray] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """N."""
        return self.t.size

    def row(self, low: float, high: float) -> int:
        """A row between two shares of the run."""
        return int(self.rng.uniform(low, high) * self.rows)

    def since(self, row: int) -> FloatArray:
        """0 until a row, then up to 1 at the end, linearly [N]."""
        return np.asarray(np.clip((np.arange(self.rows) - row) / max(1, self.rows - 1 - row), 0, None))

    def sometimes(self, column: str, times: int) -> None:
        """Let a column be logged now and then only."""
        there = np.zeros(self.rows, np.bool_)
        there[:: max(1, self.rows // times)] = True
        self.logged[column] = there


Draw = Callable[[Sketch], Truth]


def blank(rng: Generator, law: str, rows: tuple[int, int], tasks: tuple[str, ...], noise: float) -> Sketch:
    """A healthy run to draw on."""
    task = str(rng.choice(tasks))
    stage, first, last = TASKS[task]
    count = int(np.exp(rng.uniform(math.log(rows[0]), math.log(rows[1]))))
    every = int(rng.choice([1, 1, 10, 50, 100])) if count < 8000 else 1
    t = np.linspace(0, 1, count)
    fall = np.exp(-t * rng.uniform(8, 60)) if rng.random() < 0.6 else (1 + t * rng.uniform(30, 300)) ** -0.7
    rate = float(rng.choice([1e-4, 3e-4, 1e-3]))
    warm = np.minimum(1, (np.arange(count) + 1) / max(1, 0.03 * count))
    shape = warm * (0.5 + 0.5 * np.cos(np.pi * t)) if rng.random() < 0.5 else warm
    pace = rng.uniform(0.1, 2) * every * rng.lognormal(0, 0.15, count)
    config: Config = {"learning_rate": rate, "n_updates": count * every, "schedule": "cosine"}
    run = Sketch(
        rng, t, every, last + (first - last) * fall, law, noise, {"learning_rate": rate * shape}, pace,
        config, stage, first, last,
    )  # fmt: skip
    if stage == "latent_actions":
        config["n_actions"] = 8
        run.columns["action_entropy"] = math.log(8) * (0.75 + 0.05 * rng.standard_normal(count)).clip(0, 1)
        run.columns["unique_actions"] = rng.integers(6, 9, count).astype(np.float64)
    if stage == "video_tokenizer":
        run.columns["codebook_usage"] = (
            0.6 - 0.4 * np.exp(-t * 30) + 0.02 * rng.standard_normal(count)
        ).clip(0, 1)
    return run


def noise(run: Sketch) -> FloatArray:
    """Relative noise [N] of spread about one."""
    rng, rows = run.rng, run.rows
    white = rng.standard_normal(rows)
    if run.law == "heavy":
        return np.asarray(rng.standard_t(2.5, rows).clip(-3, 12) / 1.6)
    if run.law == "sluggish":
        kernel = 0.9 ** np.arange(80)
        return np.asarray(np.convolve(rng.standard_normal(rows + 79), kernel, "valid") * math.sqrt(1 - 0.81))
    if run.law == "fading":
        return np.asarray(white * (0.5 + 1.5 * np.exp(-4 * run.t)))
    if run.law == "skewed":
        return np.asarray(rng.gumbel(0, 0.78, rows) - 0.45)
    if run.law == "bursty":
        return np.asarray(white * np.where(rng.random(rows) < 0.03, 3.5, 0.9))
    return white


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


def ill(
    *codes: str, at: tuple[int, ...] = (), leads: tuple[str, ...] = (), fair: tuple[str, ...] = ()
) -> Truth:
    """What is true of a fault: the codes that name it, and the steps at which it began."""
    return Truth(codes[0], frozenset(codes), frozenset(codes + leads), frozenset(fair), at)


# ---------------------------------------------------------------- faults

HOT = "learning-rate-too-high"
RISING = ("loss-diverging", "loss-drifting-up", "loss-worse-than-chance", "loss-not-learning")


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


# ---------------------------------------------------------------- health

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


ANY = tuple(TASKS)
LONG, SHORT = (400, 50_000), (30, 150)
FAULTS: dict[Draw, tuple[tuple[int, int], tuple[str, ...], float]] = {
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
HEALTH: dict[Draw, tuple[tuple[int, int], tuple[str, ...], float]] = {
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
ALL = {draw.__name__.replace("_", "-"): (draw, *needs) for draw, needs in (FAULTS | HEALTH).items()}
SKETCHES = tuple(PREFIX + kind for kind in ALL)
SKETCHED_FAULTS = SKETCHES[: len(FAULTS)]
SKETCHED_HEALTH = SKETCHES[len(FAULTS) :]
