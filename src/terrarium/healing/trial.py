"""Trials that test a cause: which steps are taken again, and what the outcome means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from terrarium.config import GatesConfig
from terrarium.healing.comparison import gain_over, least_gain
from terrarium.healing.decisions import Trouble

FACTORS = (1.0, 1 / 3, 1 / 10)
COMPARED = 1 / 2  # of the steps since the onset, the last ones: the first differ little
LEAST_BEYOND = 8  # steps beyond the onset: fewer prove nothing
LEAST_ALLOWED = 72  # steps: in a short stage the share alone would be too few
LOSS = "loss"  # the only measure for which less is better


@dataclass(frozen=True)
class Plan:
    """Which steps are taken again.

    Attributes:
        begin: the step of the checkpoint.
        part: up to this step they are taken once, at the rate as it was; after it at every rate.
        stop: the step to end at.
        compare: from this step on they are compared.
        allowed: how many steps may be taken altogether.
    """

    begin: int
    part: int
    stop: int
    compare: int
    allowed: int

    @property
    def cost(self) -> int:
        """How many steps are taken altogether."""
        return self.part - self.begin + len(FACTORS) * (self.stop - self.part)


def plan_trial(begin: int, trouble: Trouble, gates: GatesConfig, steps: int) -> Plan | None:
    """The longest trial that costs no more than its share of a stage's steps; None if none is worth it.

    If the onset is far from the checkpoint, the way there is taken only once: rates differ from the onset on.
    """
    allowed, known = max(LEAST_ALLOWED, round(gates.trial_share * steps)), trouble.step - trouble.onset

    def beyond(part: int) -> int:
        spare = (allowed - (part - begin)) // len(FACTORS) - (trouble.onset - part)
        return min(known, gates.trial_steps, spare)

    part = max((begin, trouble.onset), key=beyond)
    if beyond(part) < min(known, LEAST_BEYOND):
        return None
    stop = trouble.onset + beyond(part)
    return Plan(begin, part, stop, stop - max(1, round(beyond(part) * COMPARED)), allowed)


@dataclass(frozen=True)
class Trials:
    """How the steps that went wrong came out, over the last of them; in every series, less is better.

    Attributes:
        as_it_was: the measure at each step, from the history.
        again: rate factor -> the same when they are taken again; infinite where a step was not finite. Empty
            if nothing could be tried.
        before: mean of the measure before the onset, None if unknown.
        measure: its name; if more is better, the series hold it with its sign flipped.
        plan: which steps were taken, None if none could be.
    """

    as_it_was: Sequence[float]
    again: dict[float, Sequence[float]]
    before: float | None = None
    measure: str = LOSS
    plan: Plan | None = None

    def passed(self, share: float) -> bool:
        """Whether all is well with nothing changed: neither rate nor batches were the cause."""
        if 1.0 not in self.again:
            return False
        least = least_gain(self.as_it_was, share, self.before)
        return gain_over(self.as_it_was, self.again[1.0]).is_sure(least)

    def best(self, share: float) -> float | None:
        """The lower rate that does best; None if none is surely better than the old one, by enough."""
        control = self.again.get(1.0, ())
        least = least_gain(control, share, self.before)
        better = {
            factor: fmean(series)
            for factor, series in self.again.items()
            if factor < 1 and gain_over(control, series).is_sure(least)
        }
        return min(better, key=better.__getitem__, default=None)

    def numbers(self, share: float) -> dict[str, float | None]:
        """For the record: means, the gain asked for, standard errors, and what the trial cost."""
        sign, control = sign_of(self.measure), self.again.get(1.0, ())
        told: dict[str, float | None] = {f"{self.measure} as it was": sign * _mean(self.as_it_was)}
        for factor, series in self.again.items():
            told[f"{self.measure} at rate x {factor:.3g}"] = sign * _mean(series)
            if factor < 1:
                told[f"standard error at rate x {factor:.3g}"] = gain_over(control, series).error
        if self.again:
            told["gain asked for"] = least_gain(control, share, self.before)
        if self.plan is not None:
            told["steps allowed"] = self.plan.allowed
        return told | {"steps tried": self.plan.cost if self.plan and self.again else 0}


def sign_of(measure: str) -> float:
    """The sign that turns a measure into one for which less is better."""
    return 1.0 if measure == LOSS else -1.0


def _mean(series: Sequence[float]) -> float:
    return fmean(series) if series else float("nan")
