"""What travels from stored footage to a model: a batch of clips.

Letters in names: B batch, T time, H height, W width, C colour channels (always 3, RGB).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clips:
    """A batch of clips of equal length, and where each was cut.

    Attributes:
        video_BTHWC: uint8 RGB frames, 0-255.
        episode_B: int64 `Episode.index` of each clip.
        start_B: int64 first frame of each clip, counted in its episode.
    """

    video_BTHWC: NDArray[np.uint8]
    episode_B: NDArray[np.int64]
    start_B: NDArray[np.int64]

    def fingerprint(self) -> int:
        """A number below 2**32 that identifies these clips."""
        return places_fingerprint(self.episode_B, self.start_B)


def places_fingerprint(episode_B: NDArray[np.int64], start_B: NDArray[np.int64]) -> int:
    """A number below 2**32 that identifies clips by where they were cut."""
    return zlib.crc32(np.stack([episode_B, start_B]).tobytes())
