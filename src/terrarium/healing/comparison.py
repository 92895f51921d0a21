"""Whether one way through some steps did better than another through the same: by enough, and not by luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

SURE = 3.0  # standard errors: by luck alone about once in a thousand trials
UNDONE = 1 / 2  # of a rise: who undoes less of it has not cured it


@dataclass(frozen=True)
class Gain:
    """By how much a measure is lower than in a control, step by step on the same batches.

    Attributes:
        mean: of the differences; infinite where only the control was not finite.
        error: its standard error, from how differences change from one step to the next. Batches are drawn
            anew at each step: that is the noise. What changes slowly is what is looked for.
    """

    mean: float
    error: float

    def is_sure(self, least: float) -> bool:
        """Whether it is at least so much, and more than `SURE` standard errors."""
        return self.mean > least and (math.isinf(self.mean) or self.mean > SURE * self.error)


def gain_over(control: Sequence[float], other: Sequence[float]) -> Gain:
    """By how much `other` is lower than `control`: series of the same steps, infinite where one failed."""
    if not _finite(other):
        return Gain(-math.inf, 0.0)
    if not _finite(control):
        return Gain(math.inf, 0.0)
    differences = [one - two for one, two in zip(control, other, strict=True)]
    changes = [later - earlier for earlier, later in pairwise(differences)]
    if not changes:
        return Gain(fmean(differences), math.inf)
    noise = math.sqrt(fmean([change**2 for change in changes]) / 2)
    return Gain(fmean(differences), noise / math.sqrt(len(differences)))


def least_gain(control: Sequence[float], share: float, before: float | None) -> float:
    """What a cure must gain on a control: a share of its level, and half of its rise over the level before.

    A lower rate always gains a little by itself once a loss has settled; it does not undo a rise by itself.
    """
    if not _finite(control):
        return 0.0
    level = fmean(control)
    rise = 0.0 if before is None else level - before
    return max(share * abs(level), UNDONE * rise)


def _finite(values: Sequence[float]) -> bool:
    return bool(values) and all(map(math.isfinite, values))
