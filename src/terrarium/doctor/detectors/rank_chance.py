"""Whether ranks had the same clips more often than by chance: sums of log-likelihood ratios."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from terrarium.doctor.history import FloatArray
from terrarium.doctor.ranks import UNKNOWN, Stretch

IF_SO = 0.9  # share of steps in which ranks have the same clips where something makes them
SURE = 7.0  # natural logarithm of the odds, besides the number of places where it may begin
RARE = 0.1  # of the steps: what comes no more often may have any reason, and is let pass


class Repeats(NamedTuple):
    """Ranks that had the same clips as others.

    Attributes:
        ranks: which.
        begin: first row of the stretch.
        end: one past its last row.
        met: steps among these in which it was so.
        different: batches that were different, in a step between `begin` and `end`; the mean.
        chance: share of the steps in which it would be so by chance.
    """

    ranks: list[int]
    begin: int
    end: int
    met: int
    different: float
    chance: float

    @property
    def steps(self) -> int:
        """Rows from `begin` to `end`."""
        return self.end - self.begin


def find_repeats(stretch: Stretch) -> Repeats | None:
    """The steps in which ranks had the same clips, not by chance; None where there are none.

    Each step speaks for one of two: it is mostly so, or it happens by the chance that the footage gives (or
    in a tenth of the steps, where that is more). The steps from `begin` to `end` are those that together
    speak most clearly for the first.
    """
    same_NR, chance = stretch.repeated_NR, chance_of(stretch)
    rows = len(same_NR)
    if chance >= IF_SO or not same_NR.any():
        return None
    else_so = max(chance, RARE)
    gains_NR = np.where(same_NR, np.log(IF_SO / else_so), np.log((1 - IF_SO) / (1 - else_so)))
    sums_NR = np.vstack([np.zeros((1, stretch.count)), np.cumsum(gains_NR, axis=0)])
    best_R = (sums_NR - np.minimum.accumulate(sums_NR, axis=0)).max(axis=0)
    ranks = np.flatnonzero(best_R >= SURE + np.log(rows)).tolist()
    if not ranks:
        return None
    begin, end = _best(sums_NR[:, int(np.argmax(best_R))])
    clips_MR = stretch.clips_NR[begin:end]
    met = int(same_NR[begin:end, ranks].any(axis=1).sum())
    different = float(np.mean(1 + (np.diff(np.sort(clips_MR, axis=1), axis=1) != 0).sum(axis=1)))
    return Repeats(ranks, begin, end, met, different, chance)


def _best(sums_N: FloatArray) -> tuple[int, int]:
    """The rows between which a sum grows most."""
    end = int(np.argmax(sums_N - np.minimum.accumulate(sums_N)))
    return int(np.argmin(sums_N[: end + 1])), end


def chance_of(stretch: Stretch) -> float:
    """How likely a rank has the clips of another one by chance: by how often the same ones come at all."""
    known = stretch.clips_NR[stretch.clips_NR != UNKNOWN]
    if known.size < 2:
        return 1.0
    _, counts = np.unique(known, return_counts=True)
    of_a_pair = float(np.sum((counts / known.size) ** 2))
    return float(np.clip(1 - (1 - of_a_pair) ** (stretch.count - 1), 0.0, 1.0))
