"""Medians of blocks of rows, and robust measures of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray

NORMAL = 1.4826  # of a normal distribution: standard deviation over median absolute deviation
BLOCK_ROWS = 50  # a median of fewer rows still follows the noise from step to step
MOST_BLOCKS = 200
ENOUGH_BLOCKS = 40  # of a short history: blocks become smaller than BLOCK_ROWS rather than fewer than this


@dataclass(frozen=True, eq=False)
class Blocks:
    """A series cut into K blocks of rows, aligned to its end; left-over rows join the first block.

    Attributes:
        starts: first row of each block [K].
        medians: median of each block [K].
        size: rows per block; the first has up to twice as many, less one.
    """

    starts: NDArray[np.int64]
    medians: FloatArray
    size: int

    def row(self, block: int) -> int:
        """The first row of a block."""
        return int(self.starts[block])


def block_rows(rows: int) -> int:
    """Rows per block that suit a series: about 200 blocks of at least 50 rows; shorter where rows are few."""
    return max(1, min(BLOCK_ROWS, rows // ENOUGH_BLOCKS), rows // MOST_BLOCKS)


def block_medians(values_N: FloatArray, size: int) -> Blocks:
    """Cut a series into blocks and take the median of each.

    Args:
        values_N: finite values; at least one.
        size: rows per block, at least 1.
    """
    count = max(1, values_N.size // size)
    head = values_N.size - (count - 1) * size
    medians = np.concatenate(
        ([np.median(values_N[:head])], np.median(values_N[head:].reshape(count - 1, size), axis=1))
    )
    starts = np.concatenate(([0], head + size * np.arange(count - 1))).astype(np.int64)
    return Blocks(starts, medians, size)


def spread(values_N: FloatArray) -> float:
    """Robust standard deviation: the median absolute deviation times 1.4826; 0 for fewer than 2 values."""
    if values_N.size < 2:
        return 0.0
    return NORMAL * float(np.median(np.abs(values_N - np.median(values_N))))


def smooth(values_K: FloatArray, width: int = 3) -> FloatArray:
    """Running medians [K] over an odd number of neighbours; the ends repeat."""
    if values_K.size < width:
        return np.full(values_K.size, np.median(values_K)) if values_K.size else values_K
    padded = np.pad(values_K, width // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1))


def baseline(values_N: FloatArray, size: int) -> FloatArray:
    """A smooth curve [N] through the medians of blocks; the rest is noise."""
    blocks = block_medians(values_N, size)
    centres = blocks.starts + np.diff(blocks.starts, append=values_N.size) / 2
    return np.asarray(np.interp(np.arange(values_N.size) + 0.5, centres, smooth(blocks.medians)))


def persistence(residuals_K: FloatArray) -> float:
    """Correlation of neighbours, 0 to 0.95: how much of its noise a value shares with the one before."""
    if residuals_K.size < 4:
        return 0.0
    bounded = np.clip(residuals_K, *(np.array([-4, 4]) * max(spread(residuals_K), 1e-300)))
    centred = bounded - bounded.mean()
    power = float(centred @ centred)
    return 0.0 if power <= 0 else float(np.clip(centred[1:] @ centred[:-1] / power, 0.0, 0.95))
