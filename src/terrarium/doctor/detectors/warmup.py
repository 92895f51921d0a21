"""The beginning of a training at its full learning rate: what the loss shows of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.detectors.learning_rate import rates_of
from terrarium.doctor.detectors.learning_rate_high import learning_rate_too_high
from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import smooth

LEAST_ROWS = 100
NO_WARM_UP = 0.7  # of the peak in the first row
LEAST_RATE = 1e-4  # less shocks nobody
EARLY = 0.1  # of the rows
SHOCK = math.log(1.15)
TALL_SHOCK = math.log(1.4)
SPIKES = math.log(1.3)
SUGGESTED = 0.02  # of the steps


def learning_rate_no_warmup(stage: StageEvidence) -> Iterator[Finding]:
    """Training began at the full learning rate, and the loss shows it.

    Looks for: a learning rate that has its peak in the first row, and a loss that in the first tenth of
    the run climbs by 15 % or more over where it began, or jumps there again and again and later does
    not.

    Why it matters: an adaptive optimizer knows nothing of the gradients in its first steps and takes
    them too long. The benefit of the initialisation is lost; some units may never recover.

    What to do: let the rate rise linearly over the first few hundred to few thousand steps.

    Silent when: the loss falls from the beginning, the history does not hold the beginning, or the loss
    never comes back: then the rate is too high altogether.
    """
    steps, rate = rates_of(stage)
    curve = loss_curve(stage)
    if curve is None or rate.size == 0 or curve.count < LEAST_ROWS or not _starts_full(stage, steps, rate):
        return
    shock = _shock(curve)
    if shock is None or not (_recovers(curve, shock) or _stays(stage, curve, shock)):
        return
    first, last = curve.step(0), curve.step(shock.row)
    warmup = SUGGESTED * float(stage.plan.steps or curve.steps[-1])
    yield Finding(
        "learning-rate-no-warmup",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(
                stage.source,
                "loss at its early height over the first",
                math.exp(shock.height),
                math.exp(SHOCK),
            ),
            Number(stage.source, "learning rate in the first row", float(rate[0])),
        ),
        {"rate": float(rate[0]), "start": curve.back(shock.start)}
        | {"height": curve.back(shock.start + shock.height)}
        | {"height_step": last, "first_step": first, "last_step": last}
        | {"suggested_warmup": float(f"{min(2000.0, max(100.0, warmup)):.0e}")},
        confidence=0.7,
        actions=("add-warmup",),
    )


def _starts_full(stage: StageEvidence, steps: FloatArray, rate: FloatArray) -> bool:
    """Whether the first row is one of the first steps, and has the rate of the following ones already."""
    early = rate[: max(10, rate.size // 5)]
    begins = steps[0] <= max(10.0, 0.001 * steps[-1])
    full = rate[0] >= NO_WARM_UP * early.max() and early.max() >= LEAST_RATE
    return bool(begins and full and not stage.plan.warmup_steps)


@dataclass(frozen=True)
class Shock:
    """An early height of a loss: its row, the level that it began at, and how far above that it is."""

    row: int
    start: float
    height: float


def _shock(curve: LossCurve) -> Shock | None:
    """The early height of a loss; None where it just falls."""
    early = max(LEAST_ROWS // 2, int(EARLY * curve.count))
    calm = smooth(curve.level[:early], 5)
    row = int(np.argmax(calm))
    start = min(curve.first, float(curve.level[0]))
    steep = float(calm[row]) - start >= max(TALL_SHOCK, 8 * curve.noise)  # within the first few rows
    start = start if steep else curve.first
    height = float(calm[row]) - start
    lasting = np.count_nonzero(calm > start + height / 2) >= 5
    if height >= max(SHOCK, 4 * curve.noise) and lasting and row < early - 1:
        return Shock(row, start, height)
    above = curve.rest > max(SPIKES, 6 * curve.noise)
    often, seldom = float(above[:early].mean()), float(above[early:].mean())
    high = curve.level[:early] > curve.first + SPIKES
    if np.count_nonzero(high) >= 5 and often >= 0.04 and seldom < often / 4:
        highest = int(np.argmax(curve.level[:early]))
        return Shock(highest, curve.first, float(curve.level[highest]) - curve.first)
    return None


def _recovers(curve: LossCurve, shock: Shock) -> bool:
    """Whether the loss has lost a third of an early shock again."""
    return curve.last <= shock.start + 0.67 * shock.height


def _stays(stage: StageEvidence, curve: LossCurve, shock: Shock) -> bool:
    """Whether the loss stays where an early shock has left it, and the rate is not too high altogether."""
    flat = curve.last <= shock.start + 1.25 * shock.height and shock.row < EARLY * curve.count / 2
    return flat and not any(learning_rate_too_high(stage))
