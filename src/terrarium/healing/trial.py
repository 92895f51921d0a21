"""A cause is tried before it is believed: which steps are taken again, and what the outcome speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from terrarium.config import GatesConfig
from terrarium.healing.comparison import gain_over, least_gain
from terrarium.healing.decisions import Trouble

FACTORS = (1.0, 1 / 3, 1 / 10)
COMPARED = 1 / 2  # the last part of the steps since the onset: the first ones differ little
LEAST_BEYOND = 8  # steps beyond the onset: fewer tell nothing
LEAST_ALLOWED = 72  # steps: of a short stage a share is too little to try anything
LOSS = "loss"  # the one measure of which less is better


@dataclass(frozen=True)
class Plan:
    """Which steps are taken again.

    Attributes:
        begin: the step of the checkpoint.
        part: up to this step they are taken once, at the rate as it was; from there on at every rate.
        stop: the step to end at.
        compare: from this step on they are compared.
        allowed: how many steps may be taken in all.
    """

    begin: int
    part: int
    stop: int
    compare: int
    allowed: int

    @property
    def cost(self) -> int:
        """How many steps are taken in all."""
        return self.part - self.begin + len(FACTORS) * (self.stop - self.part)


def plan_trial(begin: int, trouble: Trouble, gates: GatesConfig, steps: int) -> Plan | None:
    """The longest trial that costs no more than its share of a stage's steps; None where none is worth it.

    Where the onset is far from the checkpoint, the way there is taken but once: rates part at the onset.
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
    """What became of the steps that went wrong, over the last of them; of every series, less is better.

    Attributes:
        as_it_was: the measure at each step, from the history.
        again: rate factor -> the same where they are taken anew; infinite where a step was not finite. Empty
            where nothing could be tried.
        before: the mean of the measure before the onset, None where it is not known.
        measure: its name; where more is better, the series hold it with its sign turned.
        plan: which steps were taken, None where none could be.
    """

    as_it_was: Sequence[float]
    again: dict[float, Sequence[float]]
    before: float | None = None
    measure: str = LOSS
    plan: Plan | None = None

    def passed(self, share: float) -> bool:
        """Whether all is well with nothing changed: what went wrong was neither the rate nor the batches."""
        if 1.0 not in self.again:
            return False
        least = least_gain(self.as_it_was, share, self.before)
        return gain_over(self.as_it_was, self.again[1.0]).is_sure(least)

    def best(self, share: float) -> float | None:
        """The lower rate that does best, None where none is surely better than the old rate, by enough."""
        control = self.again.get(1.0, ())
        least = least_gain(control, share, self.before)
        better = {
            factor: fmean(series)
            for factor, series in self.again.items()
            if factor < 1 and gain_over(control, series).is_sure(least)
        }
        return min(better, key=better.__getitem__, default=None)

    def numbers(self, share: float) -> dict[str, float | None]:
        """For the record: means, what had to be gained and how sure it is, and what it cost."""
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
    """What turns a measure into one of which less is better."""
    return 1.0 if measure == LOSS else -1.0


def _mean(series: Sequence[float]) -> float:
    return fmean(series) if series else float("nan")
