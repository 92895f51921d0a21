"""Truth with holes: TinyWorlds draws the originals beside its dynamics with the hidden patches in grey."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.looks import Grey

Mask: TypeAlias = NDArray[np.bool_]

LEAST_HIDDEN = 0.2
CHANCE = 0.3  # how far two frames' holes may agree, from as chance has them (0) to as a background does (1)
MOST_UNSEEN = 0.35


def find_holes(clips_CTHW: Grey) -> Mask | None:
    """Where patches are hidden: one colour, in a good part of all frames, at different places in each.

    Returns:
        True where hidden [C, T, H, W], or None where nothing is: a background stays where it is.
    """
    if clips_CTHW.shape[1] < 2:
        return None
    levels = clips_CTHW.round().astype(np.uint8)
    colour = int(np.bincount(levels.ravel(), minlength=256).argmax())
    hidden = np.abs(clips_CTHW - colour) <= 1.5
    share_CT = hidden.mean((2, 3))
    if share_CT.mean() < LEAST_HIDDEN:
        return None
    both_CT = (hidden[:, 1:] & hidden[:, :-1]).mean((2, 3))
    chance_CT = share_CT[:, 1:] * share_CT[:, :-1]
    fixed_CT = np.minimum(share_CT[:, 1:], share_CT[:, :-1])
    agreement = (both_CT - chance_CT).sum() / max(float((fixed_CT - chance_CT).sum()), 1e-6)
    return _grown(hidden) if agreement < CHANCE else None


def shrink_seen(clips_CTHW: Grey, size: tuple[int, int]) -> tuple[Grey, Mask] | None:
    """Clips and their holes at a smaller size, each pixel the mean of its visible part.

    At the rim of a hole a pixel of the smaller size mixes; this way only a rim of the larger size is lost.

    Args:
        clips_CTHW: in a multiple of the size.
        size: (width, height) wanted.

    Returns:
        The clips [C, T, height, width], and where less than half of a pixel is visible; None without holes.
    """
    hidden_CTHW = find_holes(clips_CTHW)
    if hidden_CTHW is None:
        return None
    width, height = size
    c, t, h, w = clips_CTHW.shape
    blocks = (c, t, height, h // height, width, w // width)
    seen = (~hidden_CTHW).reshape(blocks)
    counts = seen.sum((3, 5))
    sums = (clips_CTHW.reshape(blocks) * seen).sum((3, 5))
    means = np.asarray(sums / np.maximum(counts, 1), clips_CTHW.dtype)
    return means, np.asarray(counts < seen.shape[3] * seen.shape[5] / 2)


def _grown(hidden: Mask) -> Mask:
    """Holes, one pixel wider on each side: at their rim the colours mix."""
    grown = hidden.copy()
    for axis in (2, 3):
        for shift in (-1, 1):
            grown |= np.roll(hidden, shift, axis)
    return grown


def fill(frames_THW: Grey, hidden_THW: Mask) -> Grey | None:
    """The frames of a clip with each hole filled from the nearest frame that shows the place.

    Returns:
        The frames, what nobody saw in the mean colour; or None where too much was never seen.
    """
    filled, seen = frames_THW.copy(), ~hidden_THW
    for distance in range(1, len(filled)):
        for step in (-distance, distance):
            for t in range(max(0, step), min(len(filled), len(filled) + step)):
                take = ~seen[t] & ~hidden_THW[t - step]
                filled[t][take] = frames_THW[t - step][take]
                seen[t] |= take
    if 1 - seen.mean() > MOST_UNSEEN:
        return None
    filled[~seen] = filled[seen].mean()
    return filled
