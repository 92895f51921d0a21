"""Two levels: a change that came once and stays to the end of a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians, block_rows

STILL_BEFORE = 0.25  # of the way to the new level: a block less far along still belongs to the old one


@dataclass(frozen=True, eq=False)
class Shift:
    """A change of level that lasts to the end.

    Attributes:
        row: where it began: the first row of the block in which the old level was left.
        before: median of the blocks before the change.
        after: median of the blocks after it.
        before_B: medians of the blocks before [B].
        after_B: medians of the blocks after [B].
    """

    row: int
    before: float
    after: float
    before_B: FloatArray
    after_B: FloatArray


def find_shift(values_N: FloatArray, least_share: float = 0.05) -> Shift | None:
    """The two levels that fit the medians of blocks best, by least squares (one change point).

    Args:
        values_N: finite values in the order of rows.
        least_share: of the blocks, that each side must have.

    Returns:
        The change, however small, or None where there are fewer than six blocks.
    """
    if values_N.size < 6:
        return None
    blocks = block_medians(values_N, block_rows(values_N.size))
    medians_K = blocks.medians
    count = medians_K.size
    least = max(2, int(np.ceil(least_share * count)))
    if count < max(6, 2 * least + 1):
        return None
    left = np.arange(1, count)
    sums = np.cumsum(medians_K - medians_K.mean())[:-1]  # of deviations: their total is 0
    gains = sums**2 / left + sums**2 / (count - left)
    cut = int(np.argmax(gains[least - 1 : count - least])) + least
    before, after = float(np.median(medians_K[:cut])), float(np.median(medians_K[cut:]))
    began = _began(medians_K[:cut], before, after)
    return Shift(blocks.row(began), before, after, medians_K[:cut], medians_K[cut:])


def _began(before_B: FloatArray, before: float, after: float) -> int:
    """The block after the last one that was still at the old level."""
    if before == after:
        return before_B.size
    old = np.flatnonzero((before_B - before) / (after - before) < STILL_BEFORE)
    return int(old[-1]) + 1 if old.size else 0
