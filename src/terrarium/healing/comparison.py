"""Whether one way through the same steps did better than another: by enough, and not by luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

SURE = 3.0  # standard errors: by luck alone about once in a thousand trials
UNDONE = 1 / 2  # of a rise: undoing less of it is no cure


@dataclass(frozen=True)
class Gain:
    """How much lower a measure is than in a control run, step by step on the same batches.

    Attributes:
        mean: mean difference; infinite if only the control was not finite.
        error: its standard error, estimated from how the differences change between neighbouring steps. Each
            step has another batch: that is the noise. The effect looked for changes slowly.
    """

    mean: float
    error: float

    def is_sure(self, least: float) -> bool:
        """Whether it is more than `least`, and more than `SURE` standard errors."""
        return self.mean > least and (math.isinf(self.mean) or self.mean > SURE * self.error)


def gain_over(control: Sequence[float], other: Sequence[float]) -> Gain:
    """How much lower `other` is than `control`: series over the same steps, infinite where one failed."""
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
    """What a cure must gain on a control: a share of its level or half of its rise, whichever is more.

    Once a loss has settled, a lower rate always gains a little; but by itself it does not undo a rise.
    """
    if not _finite(control):
        return 0.0
    level = fmean(control)
    rise = 0.0 if before is None else level - before
    return max(share * abs(level), UNDONE * rise)


def _finite(values: Sequence[float]) -> bool:
    return bool(values) and all(map(math.isfinite, values))
