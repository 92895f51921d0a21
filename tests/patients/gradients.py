"""Patients whose gradients grow, vanish or are no numbers, and healthy ones whose norms only look so."""

from __future__ import annotations

import numpy as np

from patients.courses import Maker, Patient, Random, patient, rates
from patients.rates import norms, rated, rough, some_rows, turning


def exploding_gradients(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.2, 0.9))
    columns = rated(rng, rates("constant", rows, 3e-4), turning(rng, rows, at, rng.uniform(1.5, 4)))
    since = np.maximum(0, np.arange(rows) - at) / (0.03 * rows)
    columns["grad_norm"] = norms(rng, rows) * rng.uniform(30, 1000) ** (1 - np.exp(-since))
    return patient(columns, None, columns["step"][at])


def vanishing_gradients(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.2, 0.8))
    columns = rated(rng, rates("constant", rows, 3e-4))
    columns["loss"][at:] = rough(rng, np.full(rows - at, 5.0))
    columns["grad_norm"] = norms(rng, rows)
    columns["grad_norm"][at:] *= float(rng.choice([0.0, 1e-5, 1e-9]))
    return patient(columns, None, columns["step"][at])


def no_gradient_ever(rng: Random) -> Patient:
    rows = some_rows(rng)
    columns = rated(rng, rates("constant", rows, 3e-4), rough(rng, np.full(rows, 6.9)))
    return patient(columns | {"grad_norm": np.zeros(rows)}, None, 0.0)


def infinite_gradients(rng: Random) -> Patient:
    rows = some_rows(rng)
    at = int(rows * rng.uniform(0.2, 0.95))
    columns = rated(rng, rates("constant", rows, 3e-4)) | {"grad_norm": norms(rng, rows)}
    columns["grad_norm"][at : at + int(rng.integers(8, 30))] = np.inf
    return patient(columns, None, columns["step"][at])


SICK: dict[str, dict[str, Maker]] = {
    "gradient-exploding": {"grows": exploding_gradients},
    "gradient-vanishing": {"gone": vanishing_gradients, "never": no_gradient_ever},
    "gradient-not-finite": {"infinite": infinite_gradients},
}


def growing_with_warm_up(rng: Random) -> Patient:
    """Gradients that grow a hundredfold while the rate warms up, then shrink: seen with latent actions."""
    rows = int(rng.integers(600, 3000))
    share = np.arange(rows) / rows
    norm = 0.4 + 36 * np.minimum(1, share / 0.06) * np.exp(-2.5 * share)
    columns = rated(rng, rates("ours", rows, 2e-3, warmup=0.06)) | {"grad_norm": rough(rng, norm)}
    return patient(columns)


def shrinking(rng: Random) -> Patient:
    """Gradients that fall a thousandfold with the loss: seen with a tokenizer."""
    rows = int(rng.integers(600, 3000))
    share = np.arange(rows) / rows
    loss, norm = 0.001 + 0.15 * np.exp(-25 * share), 0.7 * np.exp(-60 * share) + 0.015 * np.exp(-2.5 * share)
    return patient(rated(rng, rates("ours", rows, 2e-3), rough(rng, loss)) | {"grad_norm": rough(rng, norm)})


def slowly_growing(rng: Random) -> Patient:
    """Norms that grow by a few times over the whole run, as with weight decay."""
    rows = some_rows(rng)
    growth = rng.uniform(2, 6) ** (np.arange(rows) / rows)
    return patient(rated(rng, rates("cosine", rows, 6e-4)) | {"grad_norm": norms(rng, rows) * growth})


def clipped(rng: Random) -> Patient:
    rows = some_rows(rng)
    return patient(rated(rng, rates("cosine", rows, 6e-4)) | {"grad_norm": np.minimum(1, norms(rng, rows))})


def scaler_skips(rng: Random) -> Patient:
    """Mixed precision: infinite gradients in the first steps, and a single one now and then."""
    rows = some_rows(rng)
    norm = norms(rng, rows)
    norm[: int(rng.integers(3, 16))] = np.inf
    norm[int(rng.integers(200, 600)) :: 1000] = np.inf
    return patient(rated(rng, rates("cosine", rows, 6e-4)) | {"grad_norm": norm})


HEALTHY: dict[str, Maker] = {
    "growing": growing_with_warm_up,
    "shrinking": shrinking,
    "slowly-growing": slowly_growing,
    "clipped": clipped,
    "scaler": scaler_skips,
}
