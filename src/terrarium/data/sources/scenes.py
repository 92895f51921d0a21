"""A stream of pictures, cut into episodes where the scene changes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL = 32  # side in pixels of the grey pictures that are compared
FLOOR = 20.0  # grey levels of 255; a smaller mean difference is never a cut
TIMES_MEDIAN = 3.0  # a cut exceeds the median of recent differences this many times
HISTOGRAM_SHARE = 0.3  # of the pixels must change their grey level; a fast camera turn changes fewer
BINS = 16
RECENT = 30  # differences that the median is taken over
LOOK_AHEAD = 2  # frames after which a flash is over and a cut is not


class UnreadableFootageError(Exception):
    """A file without usable footage; ingesting reports it by name and goes on with the next one."""


@dataclass
class Reading:
    """How far the reading of one file has come; its reader fills this in.

    Attributes:
        position: share of the file read, 0-1.
        note: what was wrong with a file that could be read only in part.
    """

    position: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Shot:
    """One frame of a stream, and whether an episode begins with it."""

    frame_HWC: NDArray[np.uint8]
    begins: bool = False


def mark_cuts(shots: Iterable[Shot]) -> Iterator[Shot]:
    """Mark the first frame after each scene change.

    A cut is a difference between neighbouring frames that is far larger than recent ones, changes the
    distribution of grey levels (motion doesn't), and stays (a flash doesn't).
    """
    recent: deque[float] = deque(maxlen=RECENT)
    before: NDArray[np.float32] | None = None
    for window in _windows(shots, LOOK_AHEAD + 1):
        shot = window[0]
        now = _thumbnail(shot.frame_HWC)
        threshold = _threshold(recent)
        if before is None or shot.begins:
            recent.clear()
            before = now
        elif not _stands_out(before, now, threshold):
            recent.append(_difference(before, now))
            before = now
        elif all(_stands_out(before, _thumbnail(later.frame_HWC), threshold) for later in window[1:]):
            shot = replace(shot, begins=True)
            recent.clear()
            before = now
        # else a flash: the next frame is compared with the one before it
        yield shot


def episodes(shots: Iterable[Shot], longest: int) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """Group marked frames into episodes of at most `longest` frames; exhaust each before taking the next."""
    for _, group in itertools.groupby(_numbered(shots, longest), key=lambda pair: pair[0]):
        yield (shot.frame_HWC for _, shot in group)


def _numbered(shots: Iterable[Shot], longest: int) -> Iterator[tuple[int, Shot]]:
    number = length = 0
    for shot in shots:
        if shot.begins or length == longest:
            number, length = number + 1, 0
        length += 1
        yield number, shot


def _windows(shots: Iterable[Shot], length: int) -> Iterator[list[Shot]]:
    """Every shot together with the ones after it, up to `length` in all."""
    window: deque[Shot] = deque()
    for shot in shots:
        window.append(shot)
        if len(window) == length:
            yield list(window)
            window.popleft()
    while window:
        yield list(window)
        window.popleft()


def _threshold(recent: Sequence[float]) -> float:
    return max(FLOOR, TIMES_MEDIAN * float(np.median(recent)) if recent else 0.0)


def _stands_out(a: NDArray[np.float32], b: NDArray[np.float32], threshold: float) -> bool:
    return _difference(a, b) > threshold and _histogram_share(a, b) > HISTOGRAM_SHARE


def _thumbnail(frame_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    image = Image.fromarray(frame_HWC).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.abs(a - b).mean())


def _histogram_share(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Share of pixels that would have to change their grey level to turn a's histograms into b's.

    Each quarter has its own histogram, because two scenes of a game often share their palette.
    """
    moved = 0
    half = THUMBNAIL // 2
    for rows in (slice(0, half), slice(half, None)):
        for columns in (slice(0, half), slice(half, None)):
            counts = [np.histogram(one[rows, columns], bins=BINS, range=(0, 256))[0] for one in (a, b)]
            moved += int(np.abs(counts[0] - counts[1]).sum())
    return moved / (2 * a.size)
