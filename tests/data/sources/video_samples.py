"""Small videos, written with PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 48, 64


def scene(seed: int, frames: int) -> list[NDArray[np.uint8]]:
    """A still world of coloured blocks with a white square that walks through it."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    world = colours.repeat(8, axis=0).repeat(8, axis=1)
    shots = [world.copy() for _ in range(frames)]
    for time, shot in enumerate(shots):
        left = time % (WIDTH - 8)
        shot[20:28, left : left + 8] = 255
    return shots


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    rate: int = 30,
    milliseconds: Sequence[int] | None = None,
) -> Path:
    """Encode RGB frames as MPEG-4, at a steady rate or at the times given."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=rate if milliseconds is None else 1000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 4_000_000
        container.start_encoding()  # so that a video without frames is a file too
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number if milliseconds is None else milliseconds[number]
            picture.time_base = Fraction(1, rate if milliseconds is None else 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
