"""Where the frames lie in a picture: in a grid with a sidecar, or in the two halves of a figure without one.

TinyWorlds draws a figure with the originals on the left and the model's frames on the right, each half a
grid with black gaps under a title, on white; where the model makes fewer frames than there are originals,
its clips wrap in as many columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.json_files import JsonObject

Bytes: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right and bottom of a frame, in pixels."""

Line: TypeAlias = NDArray[np.bool_] | np.bool_  # what numpy says of `any` along an axis
WHITE = 250
LINE_RANGE = 14  # grey levels within a gap; drawing smooths it a little
MOST_CELLS = 16  # along a side of a figure without a sidecar
LIKELY_CELLS = (4, 2, 8, 3, 5, 6, 1)
SMALLEST_CELL = 8
LEAST_ASPECT = 1.3


@dataclass(frozen=True)
class Clips:
    """The frames of one clip in a picture.

    Attributes:
        truth: boxes of the originals, in order of time.
        model: boxes of what the model made of the same moments.
    """

    truth: tuple[Box, ...]
    model: tuple[Box, ...]


def in_grid(
    sidecar: JsonObject, rows: int, columns: int, labels: Sequence[str], shape: tuple[int, ...]
) -> list[Clips]:
    """The clips of a grid: each row of a model under the row of truth above it."""
    height, width = shape
    if not (rows and columns and width // columns >= SMALLEST_CELL and height // rows >= SMALLEST_CELL):
        return []
    xs = _along(width, columns, sidecar, 1)
    ys = _along(height, rows, sidecar, 0)
    boxes = [tuple((left, top, right, bottom) for left, right in xs) for top, bottom in ys]
    clips, truth = [], None
    for row, label in enumerate(labels):
        if label == "truth":
            truth = boxes[row]
        elif label == "model" and truth is not None:
            clips.append(Clips(truth, boxes[row]))
    return clips


def _along(length: int, count: int, sidecar: JsonObject, axis: int) -> list[tuple[int, int]]:
    """(start, stop) of each cell on one side: as the sidecar says, or else in equal parts."""
    tile, padding = sidecar.get("tile"), sidecar.get("padding")
    if isinstance(tile, list) and len(tile) == 2 and all(type(value) is int for value in (*tile, padding)):
        side, gap = tile[axis], padding if isinstance(padding, int) else 0
        spare = length - count * (side + gap)
        if side >= SMALLEST_CELL and 0 <= gap < side and -gap <= spare <= gap:
            first = gap if spare == gap else 0
            return [
                (first + place * (side + gap), first + place * (side + gap) + side) for place in range(count)
            ]
    edges = np.linspace(0, length, count + 1)
    trim = 0.02 * length / count
    return [(round(start + trim), round(stop - trim)) for start, stop in pairwise(edges)]


def in_halves(grey_HW: Bytes) -> list[Clips]:
    """The clips of a figure: originals in its left half, the model's frames in its right one.

    Returns:
        The clips, or nothing where the picture is no figure with two halves.
    """
    height, width = grey_HW.shape
    if width < LEAST_ASPECT * height or min(height, width // 2) < SMALLEST_CELL:
        return []
    framed = min(grey_HW[[0, -1]].min(), grey_HW[:, [0, -1]].min()) >= WHITE
    ink_HW = grey_HW < WHITE if framed else np.ones_like(grey_HW, bool)
    middle = _middle(ink_HW) if framed else width // 2
    left = _block(ink_HW[:, :middle], 0)
    right = _block(ink_HW[:, middle:], middle)
    if left is None:
        return []
    if right is None:  # white on white
        right = (left[0] + width // 2, left[1], min(width, left[2] + width // 2), left[3])
    return _paired(*_cells(grey_HW, left, right))


def _middle(ink_HW: NDArray[np.bool_]) -> int:
    """Column between the halves: the middle of the widest white one near the centre."""
    width = ink_HW.shape[1]
    body = _runs(ink_HW.any(1))
    tallest = max((stop - start for start, stop in body), default=0)
    rows = np.zeros(len(ink_HW), bool)
    for start, stop in body:
        rows[start:stop] = stop - start >= tallest / 2  # not the titles
    gaps = [
        (stop - start, (start + stop) // 2)
        for start, stop in _runs(~ink_HW[rows].any(0))
        if 0.35 * width < (start + stop) / 2 < 0.65 * width
    ]
    return max(gaps)[1] if gaps else width // 2


def _block(ink_HW: NDArray[np.bool_], shift: int) -> Box | None:
    """The box of what is drawn in one half, without title; None where nothing is."""
    rows = _long_runs(ink_HW.any(1))
    if not rows:
        return None
    top, bottom = rows[0][0], rows[-1][1]
    columns = _long_runs(ink_HW[top:bottom].any(0))
    return (columns[0][0] + shift, top, columns[-1][1] + shift, bottom)


def _runs(line: Line) -> list[tuple[int, int]]:
    """(start, stop) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _long_runs(line: Line) -> list[tuple[int, int]]:
    runs = _runs(line)
    longest = max((stop - start for start, stop in runs), default=0)
    return [(start, stop) for start, stop in runs if stop - start >= longest / 2]


def _cells(grey_HW: Bytes, left: Box, right: Box) -> tuple[list[list[Box]], list[Box]]:
    """Rows of boxes on the left, and all boxes on the right in reading order; both have as many columns."""
    gaps = [_gaps(grey_HW[top:bottom, start:stop]) for start, top, stop, bottom in (left, right)]
    columns = _count([across for across, _ in gaps])
    rows = _count([gaps[0][1]])
    pitch = (left[3] - left[1]) / rows * (right[2] - right[0]) / (left[2] - left[0])
    right_rows = max(1, round((right[3] - right[1]) / pitch))
    truth = _split(left, rows, columns, gaps[0])
    model = _split(right, right_rows, columns, gaps[1])
    return truth, [box for row in model for box in row]


Gaps: TypeAlias = tuple[list[tuple[int, int]], int]
"""Runs of lines of one black or white colour along a side, and the side's length."""


def _gaps(grey_HW: Bytes) -> tuple[Gaps, Gaps]:
    """The gaps between columns, and those between rows."""
    found = []
    for axis in (0, 1):
        low, high = grey_HW.min(axis).astype(int), grey_HW.max(axis).astype(int)
        lines = (high - low <= LINE_RANGE) & ((high <= 32) | (low >= 224))
        found.append((_runs(lines), len(lines)))
    return found[0], found[1]


def _count(sides: Sequence[Gaps]) -> int:
    """How many cells along a side: as gaps divide it evenly, else the likeliest number that fits them."""
    for runs, length in sides:
        inner = [(start + stop) / 2 for start, stop in runs if start > 0.02 * length and stop < 0.98 * length]
        count = len(inner) + 1
        if 1 < count <= MOST_CELLS and max(
            abs(at - length * (k + 1) / count) for k, at in enumerate(inner)
        ) < (0.06 * length / count):
            return count
    return next(count for count in LIKELY_CELLS if count == 1 or all(_fits(side, count) for side in sides))


def _fits(side: Gaps, count: int) -> bool:
    runs, length = side
    slack = 0.03 * length / count
    return all(
        any(start - slack <= length * k / count <= stop + slack for start, stop in runs)
        for k in range(1, count)
    )


def _split(block: Box, rows: int, columns: int, gaps: tuple[Gaps, Gaps]) -> list[list[Box]]:
    left, top, right, bottom = block
    xs = _even(left, right, columns, gaps[0])
    ys = _even(top, bottom, rows, gaps[1])
    return [[(x0, y0, x1, y1) for x0, x1 in xs] for y0, y1 in ys]


def _even(start: int, stop: int, count: int, side: Gaps) -> list[tuple[int, int]]:
    """(start, stop) of so many equal cells, without the gaps between them and their blurred edges."""
    runs, length = side
    pitch = length / count
    thin = [end - begin for begin, end in runs if end - begin <= 0.12 * pitch]
    gap = float(np.median(thin)) if thin else 0.0
    framed = bool(runs) and runs[0][0] == 0 and gap > 0
    pitch = (length - gap) / count if framed else (length + gap) / count
    first = start + (gap if framed else 0.0)
    smear = 1.0 if gap else 0.0
    return [
        (round(first + k * pitch + smear), min(stop, round(first + (k + 1) * pitch - gap - smear)))
        for k in range(count)
    ]


def _paired(truth: list[list[Box]], model: list[Box]) -> list[Clips]:
    """Each clip's originals beside the model's frames: the last ones, where the model makes fewer."""
    per_clip = min(len(model) // len(truth), len(truth[0]))
    smallest = min(min(box[2] - box[0], box[3] - box[1]) for box in [*truth[0], *model])
    if per_clip == 0 or smallest < SMALLEST_CELL:
        return []
    return [
        Clips(tuple(row[-per_clip:]), tuple(model[place * per_clip : (place + 1) * per_clip]))
        for place, row in enumerate(truth)
    ]
