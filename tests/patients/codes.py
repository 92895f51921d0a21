"""Patients whose codes fall out of use, and healthy ones whose codes only look so."""

from __future__ import annotations

import math

import numpy as np

from patients.courses import Maker, Patient, Random, any_law, falling_loss, noise, patient
from terrarium.doctor.evidence import Plan
from terrarium.doctor.history import FloatArray


def _rows(rng: Random) -> int:
    return int(rng.integers(600, 6000))


def _steps(rng: Random, rows: int) -> FloatArray:
    return np.asarray(np.arange(rows) * float(rng.choice([1, 1, 5, 10])))


def _fall(rng: Random, rows: int, at: int) -> FloatArray:
    """One up to row `at`, then towards zero within one or two per cent of the run [rows]."""
    pace = rows * rng.uniform(0.003, 0.02)
    after = np.maximum(0, np.arange(rows) - at)
    return np.exp(-after / pace) if rng.random() < 0.5 else np.maximum(0, 1 - after / (2 * pace))


def _usage(rng: Random, rows: int, level: float) -> FloatArray:
    rise = 1 - np.exp(-np.arange(rows) / (rows * rng.uniform(0.01, 0.15)))
    return np.clip(level * rise * (1 + rng.uniform(0.02, 0.08) * noise(rng, rows, any_law(rng))), 0, 1)


def _entropy(rng: Random, rows: int, level: float, spread: float, most: float) -> FloatArray:
    return np.clip(level + spread * noise(rng, rows, any_law(rng)), 0, most)


def _unique(rng: Random, entropy: FloatArray, codes: int) -> FloatArray:
    return np.clip(np.round(np.exp(entropy) + rng.uniform(0.3, 1.2, entropy.size)), 1, codes)


def collapsing_codebook(rng: Random) -> Patient:
    rows = _rows(rng)
    at, steps = int(rows * rng.uniform(0.25, 0.8)), _steps(rng, rows)
    level, rest = rng.uniform(0.3, 0.95), rng.uniform(0.004, 0.03)
    usage = np.maximum(rest, _usage(rng, rows, level) * _fall(rng, rows, at))
    columns = {"step": steps, "loss": falling_loss(rng, rows), "codebook_usage": usage}
    return patient(columns, onset=steps[at], name="video_tokenizer")


def halving_then_gone_codebook(rng: Random) -> Patient:
    found = collapsing_codebook(rng)
    assert found.stage.history is not None
    columns = dict(found.stage.history.columns)
    columns["action_entropy"] = _entropy(rng, columns["step"].size, 1.2, 0.1, math.log(8))
    columns["unique_actions"] = _unique(rng, columns["action_entropy"], 8)
    return patient(columns, onset=found.onset)


def collapsing_actions(rng: Random) -> Patient:
    rows, codes = _rows(rng), int(rng.choice([4, 6, 8, 16]))
    at, steps = int(rows * rng.uniform(0.2, 0.8)), _steps(rng, rows)
    most = math.log(codes)
    entropy = _entropy(rng, rows, rng.uniform(0.55, 0.85) * most, 0.06 * most, most) * _fall(rng, rows, at)
    entropy += rng.uniform(0, 0.02) * most * rng.random(rows)
    unique = np.where(entropy < 0.1, 1, _unique(rng, entropy, codes))
    columns = {"step": steps, "action_entropy": entropy, "unique_actions": unique}
    plan = Plan(actions=codes) if rng.random() < 0.5 else None
    return patient(columns | {"loss": falling_loss(rng, rows)}, plan, steps[at], "latent_actions")


def never_diverse_actions(rng: Random) -> Patient:
    rows = int(rng.integers(1000, 6000))
    columns = {"step": np.arange(rows), "action_entropy": 0.02 * rng.random(rows)}
    columns["unique_actions"] = 1.0 + (rng.random(rows) < 0.1)
    return patient(columns, Plan(actions=8), 0.0, "latent_actions")


def narrow_actions(rng: Random) -> Patient:
    rows, codes = _rows(rng), int(rng.choice([8, 12, 16]))
    most = math.log(codes)
    entropy = _entropy(rng, rows, rng.uniform(0.15, 0.28) * most, 0.04 * most, most)
    columns = {"step": _steps(rng, rows), "action_entropy": entropy}
    columns["unique_actions"] = np.clip(np.round(np.exp(entropy) + 0.5), 2, codes)
    plan: Plan | None = Plan(actions=codes)
    if rng.random() < 0.5:
        columns["codebook_usage"], plan = columns["unique_actions"] / codes, None
    return patient(columns, plan, 0.0, "latent_actions")


def narrowed_actions_of_the_seed(rng: Random) -> Patient:
    """As in the published report: 0.3768 to 1.2432, last 0.4826; 2 to 5 different ones, last 2; of 16."""
    rows = 10_000
    entropy = 0.48 + 0.6 * np.exp(-np.arange(rows) / 600) + 0.05 * noise(rng, rows, "autocorrelated")
    entropy = np.clip(entropy, 0.3768, 1.2432)
    entropy[-1] = 0.4826
    columns = {"step": np.arange(rows), "action_entropy": entropy}
    columns["unique_actions"] = np.clip(np.round(np.exp(entropy) + 0.4), 2, 5)
    columns["unique_actions"][:3], columns["unique_actions"][-1] = 5, 2
    return patient(columns, Plan(actions=16) if rng.random() < 0.5 else None, None, "latent_actions")


def swinging_actions(rng: Random) -> Patient:
    rows, steps = int(rng.integers(1000, 6000)), None
    steps = _steps(rng, rows)
    at, period = int(rows * rng.uniform(0.1, 0.5)), rows * rng.uniform(0.04, 0.12)
    after = np.maximum(0, np.arange(rows) - at)
    swing = 0.5 + 0.5 * np.cos(2 * np.pi * after / period)
    if rng.random() < 0.5:  # on and off instead
        swing = np.where((after // (period / 2)) % 2 == 1, 0.0, 1.0)
        at += int(period / 2)
    entropy = _entropy(rng, rows, 1.3, 0.1, math.log(8)) * swing + 0.03 * rng.random(rows)
    columns = {"step": steps, "action_entropy": entropy, "unique_actions": _unique(rng, entropy, 8)}
    return patient(columns | {"loss": falling_loss(rng, rows)}, None, steps[at], "latent_actions")


SICK: dict[str, dict[str, Maker]] = {
    "codebook-collapsed": {"falls": collapsing_codebook, "alone": halving_then_gone_codebook},
    "actions-collapsed": {"falls": collapsing_actions, "never": never_diverse_actions},
    "actions-narrow": {"always": narrow_actions, "seed": narrowed_actions_of_the_seed},
    "actions-unstable": {"swings": swinging_actions},
}


def small_batches(rng: Random) -> Patient:
    """Entropy and usage of batches so small that they jump about, single ones down to zero."""
    rows, level = _rows(rng), rng.uniform(0.8, 1.2)
    entropy = np.clip(level + 0.3 * rng.standard_normal(rows), 0, math.log(6))
    columns = {
        "step": _steps(rng, rows),
        "action_entropy": entropy,
        "unique_actions": _unique(rng, entropy, 6),
    }
    columns["codebook_usage"] = np.clip(0.3 + 0.12 * rng.standard_normal(rows), 0.02, 1)
    return patient(columns | {"loss": falling_loss(rng, rows)})


def few_actions_asked(rng: Random) -> Patient:
    rows, codes = _rows(rng), int(rng.integers(2, 5))
    most = math.log(codes)
    entropy = _entropy(rng, rows, 0.86 * most, 0.05 * most, most)
    columns = {"step": _steps(rng, rows), "action_entropy": entropy, "unique_actions": np.full(rows, codes)}
    return patient(columns, Plan(actions=codes) if rng.random() < 0.5 else None)


def early_dip(rng: Random) -> Patient:
    """Codes are diverse at random initialisation, then few, then many: the usual course."""
    rows, codes = _rows(rng), 8
    share = np.arange(rows) / rows
    level = 2.0 * np.exp(-share / 0.002) + 1.7 * (1 - np.exp(-share / rng.uniform(0.005, 0.03)))
    entropy = np.clip(level + 0.08 * noise(rng, rows, any_law(rng)), 0, math.log(codes))
    usage = 0.9 * np.exp(-share / 0.004) + 0.75 * (1 - np.exp(-share / rng.uniform(0.05, 0.3)))
    columns = {"step": _steps(rng, rows), "action_entropy": entropy, "codebook_usage": np.clip(usage, 0, 1)}
    columns["unique_actions"] = _unique(rng, entropy, codes)
    return patient(columns, Plan(actions=codes) if rng.random() < 0.5 else None)


def little_used_from_the_start(rng: Random) -> Patient:
    rows = _rows(rng)
    columns = {"step": _steps(rng, rows), "codebook_usage": _usage(rng, rows, rng.uniform(0.02, 0.08))}
    return patient(columns | {"loss": falling_loss(rng, rows)})


def usage_that_halves(rng: Random) -> Patient:
    rows = _rows(rng)
    usage = _usage(rng, rows, 0.8) * (1 - 0.5 * np.arange(rows) / rows)
    return patient({"step": _steps(rng, rows), "codebook_usage": usage, "loss": falling_loss(rng, rows)})


def dip_that_recovers(rng: Random) -> Patient:
    """One dip of everything, for three per cent of the run, at any time but the end."""
    rows = _rows(rng)
    middle = rows * rng.uniform(0.2, 0.8)
    dip = 1 - 0.95 * np.exp(-(((np.arange(rows) - middle) / (0.012 * rows)) ** 2))
    entropy = _entropy(rng, rows, 1.4, 0.1, math.log(8)) * dip
    columns = {
        "step": _steps(rng, rows),
        "action_entropy": entropy,
        "unique_actions": _unique(rng, entropy, 8),
    }
    return patient(columns | {"codebook_usage": _usage(rng, rows, 0.6) * dip})


def short_and_low(rng: Random) -> Patient:
    rows = int(rng.integers(5, 95))
    columns = {"step": np.arange(rows), "action_entropy": 0.05 * rng.random(rows)}
    columns |= {"unique_actions": np.ones(rows), "codebook_usage": np.linspace(0.5, 0.01, rows)}
    return patient(columns, Plan(actions=16))


HEALTHY: dict[str, Maker] = {
    "small-batches": small_batches,
    "few-actions": few_actions_asked,
    "early-dip": early_dip,
    "low-usage": little_used_from_the_start,
    "usage-halves": usage_that_halves,
    "dip": dip_that_recovers,
    "short": short_and_low,
}
