"""Columns beside loss, rate and time, as trainers log them: gradients, codes, actions, validation."""

from __future__ import annotations

import numpy as np

from patients.runs.laws import autocorrelated, log_uniform
from patients.runs.run import Run
from terrarium.doctor.history import FloatArray


def complete(run: Run) -> None:
    """Fill in what a kind has left alone."""
    rng, columns = run.rng, run.columns
    if "grad_norm" not in columns:
        set_gradient(run, log_uniform(rng, 0.1, 5) * (0.3 + 0.7 * run.level))
    if "action_entropy" not in columns and "n_actions" in run.config:
        set_actions(run, np.full(run.rows, rng.uniform(0.65, 0.95)), rng.uniform(0.02, 0.05))
    if "codebook_usage" not in columns and run.stage == "video_tokenizer":
        final, first = rng.uniform(0.4, 0.95), rng.uniform(0.1, 0.9)
        set_usage(run, final * (1 - (1 - first) * np.exp(-run.x / rng.uniform(0.03, 0.2))))
    if "validation_loss" not in columns:
        set_validation(run, run.level * 1.05)


def set_gradient(run: Run, expected: FloatArray) -> None:
    """Log gradient norms about an expected one [N]: scattered, with rare large ones."""
    heavy = np.where(run.rng.random(run.rows) < 0.002, run.rng.uniform(2, 6, run.rows), 1)
    scatter = run.rng.lognormal(0, run.rng.uniform(0.1, 0.4), run.rows)
    run.columns["grad_norm"] = expected * scatter * heavy


def set_actions(run: Run, share: FloatArray, jitter: float) -> None:
    """Log an action entropy about a share [N] of its maximum, and the unique actions that go with it."""
    actions = int(run.config["n_actions"])
    wobble = jitter * autocorrelated(run.rng, run.rows, 0.8)
    entropy = (share + wobble * np.minimum(1, 4 * share)).clip(0, 0.999) * np.log(actions)
    run.columns["action_entropy"] = entropy
    effective = np.exp(entropy) * run.rng.uniform(1.0, 1.35, run.rows)
    run.columns["unique_actions"] = np.ceil(effective - 0.2).clip(1, actions)


def set_usage(run: Run, usage: FloatArray) -> None:
    """Log a codebook usage [N], a fraction, counted in whole codes."""
    codes = int(run.config["codebook_size"])
    noisy = usage * (1 + 0.02 * run.rng.standard_normal(run.rows))
    run.columns["codebook_usage"] = np.rint(noisy.clip(1 / codes, 1) * codes) / codes


def set_validation(run: Run, level: FloatArray, noise_size: float = 0.01) -> None:
    """Log a validation loss about a level [N], now and then."""
    every = max(1, run.rows // int(run.rng.integers(20, 60)))
    there = np.zeros(run.rows, dtype=np.bool_)
    there[every - 1 :: every] = True
    seen = level * (1 + noise_size * run.rng.standard_normal(run.rows))
    run.columns["validation_loss"] = run.scale * (seen + run.offset)
    run.logged["validation_loss"] = there


def set_memory(run: Run, kept: FloatArray, left: float) -> None:
    """Log the memory of the process: a level that fills at first, what is kept [N], and unrest; MiB.

    Args:
        run: of which machine it is.
        kept: beyond the level.
        left: when the run ends.
    """
    level = log_uniform(run.rng, 200, 20_000)
    fills = 0.3 * level * (1 - np.exp(-np.arange(run.rows) / run.rng.uniform(3, 20)))
    unrest = run.rng.uniform(0, 0.01) * level * np.abs(run.rng.standard_normal(run.rows))
    used = level + fills + kept + unrest
    others = 300 * np.abs(autocorrelated(run.rng, run.rows, 0.9))
    run.columns["process_memory"] = np.round(used, 1)
    run.columns["memory_left"] = np.round((kept[-1] - kept + left + others).clip(0, None), 1)
