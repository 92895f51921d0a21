"""What a model makes of clips [B, T, S, S, 3]: ill in each of the ways that have a code, or healthy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from patients.scenes import Floats, Frames, Rng, to_bytes

Change: TypeAlias = Callable[[Frames, Rng], Frames]


def flat(truth: Frames, rng: Rng) -> Frames:
    """One colour a clip, with a little grain."""
    colour = rng.uniform(20, 230, (truth.shape[0], 1, 1, 1, 3))
    return to_bytes(np.broadcast_to(colour, truth.shape) + rng.normal(0, 0.8, truth.shape))


def flat_areas(truth: Frames, rng: Rng) -> Frames:
    """Two or three large areas of one colour each."""
    out = np.empty(truth.shape)
    size = truth.shape[2]
    for clip in out:
        clip[:] = rng.uniform(20, 230, 3)
        for _ in range(2):
            y, x = rng.integers(0, size, 2)
            clip[:, y:, x:] = rng.uniform(20, 230, 3)
    return to_bytes(out)


def blocks(truth: Frames, rng: Rng) -> Frames:
    """Patches of one colour each, drawn at random from the truth's colours."""
    side = truth.shape[2] // int(rng.choice([4, 8, 16]))
    return _in_blocks(
        rng.permutation(_pooled(truth, side).reshape(-1, 3)).reshape(_pooled(truth, side).shape), side
    )


def mean_blocks(truth: Frames, rng: Rng) -> Frames:
    """The mean colour of each patch: a decoder that paints patches without what is in them."""
    side = truth.shape[2] // int(rng.choice([4, 8]))
    return _in_blocks(_pooled(truth, side), side)


def _pooled(frames: Frames, side: int) -> Floats:
    b, t, h, w, c = frames.shape
    return np.asarray(frames.reshape(b, t, h // side, side, w // side, side, c).mean((3, 5)), np.float64)


def _in_blocks(colours: Floats, side: int) -> Frames:
    return to_bytes(colours.repeat(side, 2).repeat(side, 3))


def stripes(truth: Frames, rng: Rng) -> Frames:
    """Rows or columns of one colour each."""
    b, _, size = truth.shape[:3]
    width = int(rng.choice([1, 2, 4, 8]))
    colours = rng.uniform(20, 230, (b, 1, size // width, 1, 3)).repeat(width, 2)
    out = np.broadcast_to(colours, truth.shape) + rng.normal(0, 1, truth.shape)
    return to_bytes(out if rng.random() < 0.5 else out.swapaxes(2, 3))


def smeared(truth: Frames, rng: Rng) -> Frames:
    """Stripes made of the truth: its first column drawn across, or its first row down."""
    axis = int(rng.choice([2, 3]))
    return np.broadcast_to(truth.take([truth.shape[axis] // 2], axis), truth.shape).copy()


def tiles(truth: Frames, rng: Rng) -> Frames:
    """One patch of the truth again and again: every token is the same."""
    times = int(rng.choice([4, 8]))
    side = truth.shape[2] // times
    y, x = rng.integers(0, truth.shape[2] - side, 2)
    return np.tile(truth[:, :, y : y + side, x : x + side], (1, 1, times, times, 1))


def noise(truth: Frames, rng: Rng) -> Frames:
    """White noise."""
    return to_bytes(rng.normal(rng.uniform(80, 170), rng.uniform(25, 70), truth.shape))


def grey_noise(truth: Frames, rng: Rng) -> Frames:
    """The truth drowned in noise of all channels alike."""
    return to_bytes(0.25 * truth + 90 + rng.normal(0, 55, (*truth.shape[:-1], 1)))


def salad(truth: Frames, rng: Rng) -> Frames:
    """Patches of the truth in random order: every token is one of the world's, and none is in its place."""
    side = truth.shape[2] // 16
    b, t, h, w, c = truth.shape
    patches = truth.reshape(b * t, h // side, side, w // side, side, c).swapaxes(2, 3)
    shuffled = np.stack([rng.permutation(frame.reshape(-1, side, side, c)) for frame in patches])
    return shuffled.reshape(b * t, h // side, w // side, side, side, c).swapaxes(2, 3).reshape(truth.shape)


def heavy_blur(truth: Frames, rng: Rng) -> Frames:
    """Only where it is light and where dark is left."""
    return blurred(truth, truth.shape[2] / rng.uniform(6, 10))


def frozen(truth: Frames, rng: Rng) -> Frames:
    """The first frame, again and again."""
    still = truth[:, :1].repeat(truth.shape[1], 1)
    return to_bytes(still + rng.normal(0, 0.5, still.shape))


def blurred(frames: Frames, sigma: float) -> Frames:
    """Gaussian blur of some pixels; edges continue."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    out = frames.astype(np.float64)
    for axis in (2, 3):
        padding = [(0, 0)] * out.ndim
        padding[axis] = (reach, reach)
        wide = np.pad(out, padding, mode="edge")
        out = sum(
            weight * wide.take(range(shift, shift + frames.shape[axis]), axis)
            for shift, weight in enumerate(weights / weights.sum())
        )
    return to_bytes(out)


ILL: dict[str, tuple[Change, ...]] = {
    "picture-flat": (flat, flat_areas),
    "picture-blocks": (blocks, mean_blocks),
    "picture-stripes": (stripes, smeared),
    "picture-tiles": (tiles,),
    "picture-noise": (noise, grey_noise, salad),
    "picture-blurred": (heavy_blur,),
    "picture-frozen": (frozen,),
}


def same(truth: Frames, rng: Rng) -> Frames:
    return truth.copy()


def soft(truth: Frames, rng: Rng) -> Frames:
    return blurred(truth, truth.shape[2] / 64 * rng.uniform(0.4, 0.8))


def smooth(truth: Frames, rng: Rng) -> Frames:
    """Smooth but structured, as latent actions reconstruct."""
    return blurred(truth, truth.shape[2] / 64 * rng.uniform(1.0, 1.6))


def brighter(truth: Frames, rng: Rng) -> Frames:
    return to_bytes(truth * rng.uniform(0.8, 1.1) + rng.uniform(-20, 25))


def grainy(truth: Frames, rng: Rng) -> Frames:
    return to_bytes(truth + rng.normal(0, 5, truth.shape))


def coarse(truth: Frames, rng: Rng) -> Frames:
    """Fewer colours, as compression leaves them."""
    return to_bytes(np.floor(truth / 12.0) * 12 + 6)


def shifted(truth: Frames, rng: Rng) -> Frames:
    return np.roll(truth, rng.choice([-1, 1], 2), (2, 3))


def tinted(truth: Frames, rng: Rng) -> Frames:
    return to_bytes(truth * rng.uniform(0.55, 1.0, 3))


def softened_edges(truth: Frames, rng: Rng) -> Frames:
    """What a small patch tokenizer leaves: patches, each a little off in brightness."""
    offsets = rng.normal(0, 2.5, (*truth.shape[:2], 16, 16, 1))
    side = truth.shape[2] // 16
    return to_bytes(blurred(truth, truth.shape[2] / 128) + offsets.repeat(side, 2).repeat(side, 3))


HEALTHY: tuple[Change, ...] = (
    same, soft, smooth, brighter, grainy, coarse, shifted, tinted, softened_edges,
)  # fmt: skip
