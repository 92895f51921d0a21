"""Faults of codes, gradients and learning rates."""

from __future__ import annotations

import numpy as np

from patients.runs.case import Truth
from patients.runs.faulty_loss import HOT, SETTLING, rise, truth, wander
from patients.runs.laws import autocorrelated, schedule
from patients.runs.measures import set_actions, set_gradient, set_usage
from patients.runs.run import Bend, Needs, Run


def codebook_collapses(run: Run) -> Truth:
    """All but a few codes die: at some step, or they never lived."""
    row = 0 if run.rng.random() < 0.3 else run.row_at(0.1, 0.65)
    left = run.rng.uniform(1, 6) / float(run.config["codebook_size"])
    healthy = run.rng.uniform(0.4, 0.9)
    fallen = rise(run, row, run.rng.uniform(0.005, 0.03)) if row else np.ones(run.rows)
    set_usage(run, left + (healthy - left) * (1 - fallen))
    run.level = run.level + run.rng.uniform(0.05, 0.2) * float(run.level[row]) * fallen * (row > 0)
    return truth(
        "codebook-collapsed",
        fair=("loss-drifting-up", "loss-not-learning", "loss-jump", "loss-spike"),
        onsets=(run.step_at(row),),
    )


def actions_collapse(run: Run) -> Truth:
    """One action is left, and the decoder does without it."""
    row = 0 if run.rng.random() < 0.2 else run.row_at(0.1, 0.65)
    fallen = rise(run, row, run.rng.uniform(0.005, 0.04)) if row else np.ones(run.rows)
    left = run.rng.uniform(0, 0.015)
    set_actions(run, left + (run.rng.uniform(0.65, 0.95) - left) * (1 - fallen), 0.03)
    run.level = run.level + run.rng.uniform(0.03, 0.15) * float(run.level[row]) * fallen * (row > 0)
    return truth("actions-collapsed", fair=("loss-drifting-up", "loss-spike"), onsets=(run.step_at(row),))


def entropy_swings(run: Run) -> Truth:
    """The codes live and die by turns."""
    row = 0 if run.rng.random() < 0.4 else run.row_at(0.1, 0.5)
    slow = autocorrelated(run.rng, run.rows, 0.9 if run.rows < 3000 else 0.98)
    down = (slow > 0.1) & (run.x >= run.x[row])
    row = int(np.argmax(down))
    set_actions(run, np.where(down, run.rng.uniform(0, 0.03), run.rng.uniform(0.6, 0.9)), 0.03)
    return truth(
        "actions-unstable",
        leads=("actions-collapsed",),
        fair=("actions-collapsed",),
        onsets=(run.step_at(row),),
    )


def actions_are_narrow(run: Run) -> Truth:
    """A few of many actions are used, from the start to the end."""
    run.config["n_actions"] = actions = int(run.rng.choice([8, 16]))
    entropy = run.rng.uniform(0.3, 0.55)
    set_actions(run, np.full(run.rows, entropy / np.log(actions)), 0.02)
    return truth("actions-narrow", fair=("actions-collapsed", "actions-unstable"))


def gradient_explodes(run: Run) -> Truth:
    """Norms grow by orders of magnitude, and the loss begins to suffer."""
    row = run.row_at(0.35, 0.8)
    growth = rise(run, row, run.rng.uniform(0.03, 0.15))
    set_gradient(run, (0.3 + 0.7 * run.level) * 10 ** (run.rng.uniform(2.5, 5) * growth))
    hurt = rise(run, row, 0.2) * growth
    run.level = run.level + run.rng.uniform(0.2, 1.0) * hurt
    run.unrest = 1 + 3 * hurt
    return truth(
        "gradient-exploding",
        leads=(HOT,),
        fair=(HOT, "loss-diverging", "loss-drifting-up", "loss-spike"),
        onsets=(run.step_at(row),),
    )


def gradient_vanishes(run: Run) -> Truth:
    """Nothing flows back any more; what was learnt until then is all."""
    row = run.row_at(0.01, 0.25)
    gone = rise(run, row, run.rng.uniform(0.005, 0.03))
    set_gradient(run, (0.3 + 0.7 * run.level) * 10 ** (-run.rng.uniform(5, 9) * gone))
    run.level = np.where(run.x > run.x[row], run.level[row], run.level)
    return truth(
        "gradient-vanishing",
        fair=("loss-not-learning", "loss-constant"),
        onsets=(run.step_at(row),),
    )


def rate_is_zero(run: Run) -> Truth:
    """A learning rate of nothing: the loss rests where it was."""
    row = 0 if run.rng.random() < 0.5 else run.row_at(0.1, 0.6)
    run.columns["learning_rate"][row:] = 0.0
    run.level = np.where(run.x >= run.x[row], run.level[row], run.level)
    return truth("learning-rate-zero", fair=("loss-not-learning",), onsets=(run.step_at(row),))


def starts_without_warm_up(run: Run) -> Truth:
    """The full rate hits fresh weights: a spike at the start, then slow learning at a worse level."""
    lasts = run.rng.uniform(0.01, 0.03)
    shock = run.rng.uniform(0.8, 3) * (run.x / (0.3 * lasts)).clip(0, 1) * np.exp(-((run.x / lasts) ** 1.5))
    floor = run.rng.uniform(0.3, 0.6)
    run.level = floor + (1 - floor) * np.maximum(run.level, np.exp(-run.x / (3 * lasts))) + shock
    run.columns["learning_rate"] = run.columns["learning_rate"].max() * schedule(
        "cosine" if run.rng.random() < 0.6 else "constant", run.rng, run.steps / run.planned
    )
    run.config["learning_rate"] = float(run.columns["learning_rate"].max())
    run.config["schedule"] = (
        "cosine" if run.columns["learning_rate"][-1] != run.config["learning_rate"] else "constant"
    )
    run.config["warmup_steps"] = 0
    return truth(
        "learning-rate-no-warmup",
        leads=(HOT,),
        fair=(HOT, "loss-spike", "loss-diverging"),
        onsets=(run.step_at(0),),
    )


def rate_is_too_high(run: Run) -> Truth:
    """Twenty times what the model bears, over a long horizon: a short fall, then an endless rise."""
    turn = int(run.rng.uniform(0.005, 0.03) * run.rows)
    run.planned = int(run.steps[-1] * run.rng.uniform(2, 8))
    peak = float(run.rng.choice([0.01, 0.006, 0.02]))
    law = "cosine" if run.rng.random() < 0.7 else "warm-up"
    run.columns["learning_rate"] = peak * schedule(law, run.rng, run.steps / run.planned)
    run.config |= {"learning_rate": peak, "schedule": "cosine", "n_updates": run.planned}
    fallen = np.minimum(1, np.arange(run.rows) / max(1, turn))
    run.level = (1 - 0.2 * fallen + run.rng.uniform(0.8, 2.6) * rise(run, turn, 0.3)) * wander(run, 0.03)
    run.unrest = 1 + rise(run, turn, 0.3)
    return truth(
        HOT,
        "loss-diverging",
        "loss-drifting-up",
        leads=(HOT,),
        fair=("loss-not-learning", "loss-worse-than-chance"),
        onsets=(run.step_at(0), run.step_at(turn)),
    )


def rate_is_not_applied(run: Run) -> Truth:
    """The configuration asks for a fifth, but the old schedule put the old rate back."""
    run.config["learning_rate"] = float(run.columns["learning_rate"].max()) / float(
        run.rng.choice([3, 5, 10])
    )
    return truth("learning-rate-not-applied", leads=(HOT,), fair=(HOT,))


MEASURE_FAULTS: dict[Bend, Needs] = {
    codebook_collapses: Needs(stage="video_tokenizer", columns=("codebook_usage",), signed=False),
    actions_collapse: Needs(
        stage="latent_actions", columns=("action_entropy", "unique_actions"), signed=False
    ),
    entropy_swings: Needs(stage="latent_actions", columns=("action_entropy", "unique_actions")),
    actions_are_narrow: Needs(
        stage="latent_actions", columns=("action_entropy", "unique_actions"), config=True
    ),
    gradient_explodes: Needs(columns=("grad_norm",), signed=False),
    gradient_vanishes: Needs(columns=("grad_norm",), curves=SETTLING, signed=False),
    rate_is_zero: Needs(
        columns=("learning_rate",), rows=(600, 60_000), schedules=("constant", "cosine", "warm-up")
    ),
    starts_without_warm_up: Needs(
        columns=("learning_rate",),
        rows=(2000, 60_000),
        schedules=("constant",),
        noise=(0.01, 0.06),
        signed=False,
    ),
    rate_is_too_high: Needs(columns=("learning_rate",), config=True, rows=(600, 60_000), signed=False),
    rate_is_not_applied: Needs(
        columns=("learning_rate",), config=True, schedules=("constant", "cosine", "warm-up", "linear")
    ),
}
