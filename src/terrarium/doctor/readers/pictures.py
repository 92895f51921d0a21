"""Pictures that a stage drew while it trained: found, chosen, and in each the model compared with the truth.

Ours are grids with a sidecar that says which row shows what. Figures without one are taken as TinyWorlds
draws them: the originals in the left half, the model's frames in the right.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from terrarium.doctor.evidence import Missing, Pair, Picture
from terrarium.doctor.json_files import JsonObject, read_object
from terrarium.doctor.looks import Grey, pair
from terrarium.doctor.readers.figures import Box, Bytes, Clips, in_grid, in_halves
from terrarium.doctor.readers.masks import fill, find_holes, shrink_seen
from terrarium.run import disk

PICTURE_NAME = re.compile(r"(?P<what>.+)_step_(?P<step>\d{1,15})\.png")
MOST_SUBJECTS = 4
MOST_FILES = 100_000
MOST_EXAMINED = 12  # pictures of a stage, all subjects together
LAST_EXAMINED = 5  # of a subject without gaps: what lasts is told from the latest
LARGEST_FILE_BYTES = 32 * 2**20
LARGEST_PICTURE_PIXELS = 32 * 10**6
LARGEST_SIDECAR_BYTES = 2**20
EXAMINED_PIXELS = 40 * 10**6  # of all of a stage's pictures: what is larger is not decoded
MOST_PAIRS = 8
MOST_FRAMES = 8
CELL_SIZE = 64
FINER = 4  # times the size of a cell, in which holes of the truth are looked for
MOST_NAMED = 3
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def examine_pictures(stage_path: Path) -> tuple[tuple[Picture, ...], tuple[Missing, ...]]:
    """Find the pictures in `<stage>/visualizations` and examine a few, spread over the training.

    Args:
        stage_path: a stage's folder, ours or TinyWorlds'. No link in it is followed.

    Returns:
        The pictures that were looked at, by subject and rising step, the earliest and the latest of each
        subject marked to be shown; and what could not be looked at, or was left out.
    """
    stage = stage_path.name
    subjects = _subjects(stage_path / "visualizations")
    if not subjects:
        return (), (Missing(stage, "pictures", "pictures-none"),)
    found = sum(len(by_step) for by_step in subjects.values())
    chosen = _chosen(subjects)
    pictures, failed, pixels = [], dict[str, list[str]](), EXAMINED_PIXELS
    for what, step, when in reversed(chosen):  # the latest say most
        picture, why, size = _examine(stage, what, step, subjects[what][step], when, pixels)
        pictures.append(picture)
        pixels -= size
        if why:
            failed.setdefault(why, []).append(picture.path.name)
    missing = [Missing(stage, "pictures", why, _listed(names)) for why, names in failed.items()]
    if found > len(chosen):
        missing.append(Missing(stage, "pictures", "pictures-left-out", f"{found - len(chosen)} / {found}"))
    pictures.sort(key=lambda picture: (picture.what, picture.step))
    return tuple(pictures), tuple(missing)


def open_picture(path: Path) -> Image.Image:
    """A PNG of bounded size, its pixels not yet decoded.

    Raises:
        OSError, ValueError, SyntaxError, EOFError: it is no PNG, a link, unreadable or too large.
    """
    content = disk.read_bounded(path, LARGEST_FILE_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content), formats=("PNG",))
    if image.width * image.height > LARGEST_PICTURE_PIXELS:
        raise ValueError(f"has too many pixels ({image.width} x {image.height})")
    return image


def _subjects(folder: Path) -> dict[str, dict[int, Path]]:
    """what -> step -> path; links are passed over, so nothing outside the folder is looked at."""
    found: dict[str, dict[int, Path]] = {}
    if folder.is_symlink():
        return found
    try:
        for count, path in enumerate(folder.iterdir()):
            match = PICTURE_NAME.fullmatch(path.name)
            if match and path.is_file() and not path.is_symlink():
                found.setdefault(match["what"], {})[int(match["step"])] = path
            if count >= MOST_FILES:
                break
    except OSError:
        pass
    return found


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """At most so many steps: the first, the last few, and others evenly between; `steps` rise."""
    if len(steps) <= most:
        return list(steps)
    last = min(LAST_EXAMINED, most - 1)
    places = np.linspace(0, len(steps) - 1 - last, most - last).round().astype(int)
    return [steps[place] for place in places] + list(steps[-last:])


def _chosen(subjects: Mapping[str, Mapping[int, Path]]) -> list[tuple[str, int, str]]:
    """(what, step, when) of the pictures to look at, by rising step."""
    kept = sorted(subjects)[:MOST_SUBJECTS]
    chosen = []
    for what in kept:
        steps = sorted(subjects[what])
        marks = {steps[0]: "only"} if len(steps) == 1 else {steps[0]: "early", steps[-1]: "late"}
        chosen += [(what, step, marks.get(step, "")) for step in _spread(steps, MOST_EXAMINED // len(kept))]
    return sorted(chosen, key=lambda choice: choice[1])


def _examine(
    stage: str, what: str, step: int, path: Path, when: str, pixels: int
) -> tuple[Picture, str, int]:
    """A picture, the code of why it could not be judged ("" if it was), and the number of pixels read."""
    sidecar, _ = read_object(path.with_suffix(".json"), LARGEST_SIDECAR_BYTES)
    rows, columns = _count(sidecar, "rows"), _count(sidecar, "columns")
    labels = sidecar.get("row_labels")
    names = tuple(str(label)[:40] for label in labels[:rows]) if isinstance(labels, list) else ()
    picture = Picture(stage, what, step, path, when, rows, columns, names)
    try:
        with open_picture(path) as image:
            size = image.width * image.height
            if size > pixels:
                return picture, "pictures-too-large", 0
            grey_HW = _grey(image)
    except UNREADABLE:
        return picture, "pictures-unreadable", 0
    clips = in_grid(sidecar, rows, columns, names, grey_HW.shape) if rows else in_halves(grey_HW)
    picture = replace(picture, pairs=_pairs(grey_HW, clips))
    return picture, "" if picture.pairs else "pictures-without-truth", size


def _grey(image: Image.Image) -> Bytes:
    """Grey levels [H, W] on white, whatever the PNG holds them in."""
    if image.mode.startswith("I"):  # 16 bits
        return np.asarray(np.asarray(image).astype(np.uint32) >> 8, np.uint8)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("L"))


def _pairs(grey_HW: Bytes, clips: Sequence[Clips]) -> tuple[Pair, ...]:
    """Truth against model for a few clips, spread over the picture; none whose truth is hidden."""
    places = np.unique(np.linspace(0, len(clips) - 1, min(MOST_PAIRS, len(clips))).round().astype(int))
    if not len(places):
        return ()
    image = Image.fromarray(grey_HW)
    left, top, right, bottom = clips[0].truth[0]
    shrink = min(1.0, CELL_SIZE / max(right - left, bottom - top))
    size = (max(1, round((right - left) * shrink)), max(1, round((bottom - top) * shrink)))
    truth_CTHW = np.stack([_frames(image, clips[place].truth, size) for place in places])
    model_CTHW = np.stack([_frames(image, clips[place].model, size) for place in places])
    hidden_CTHW = find_holes(truth_CTHW)
    if hidden_CTHW is not None:
        fine_CTHW = _fine(image, [clips[place].truth for place in places], size)
        truth_CTHW, hidden_CTHW = shrink_seen(fine_CTHW, size) or (truth_CTHW, hidden_CTHW)
    else:
        return tuple(pair(truth, model) for truth, model in zip(truth_CTHW, model_CTHW, strict=True))
    filled = [fill(truth, hidden) for truth, hidden in zip(truth_CTHW, hidden_CTHW, strict=True)]
    return tuple(
        pair(truth, model, ~hidden)
        for truth, model, hidden in zip(filled, model_CTHW, hidden_CTHW, strict=True)
        if truth is not None
    )


def _fine(image: Image.Image, truths: Sequence[Sequence[Box]], size: tuple[int, int]) -> Grey:
    """The truth of some clips [C, T, H, W] in up to `FINER` times the size, as far as there are pixels."""
    left, top, right, bottom = truths[0][0]
    times = max(1, min(FINER, int((right - left) // size[0]), int((bottom - top) // size[1])))
    return np.stack([_frames(image, boxes, (size[0] * times, size[1] * times)) for boxes in truths])


def _frames(image: Image.Image, boxes: Sequence[Box], size: tuple[int, int]) -> Grey:
    """The last frames of a clip at one size [T, H, W]."""
    cells = [image.resize(size, Image.Resampling.BOX, box) for box in boxes[-MOST_FRAMES:]]
    return np.stack([np.asarray(cell, np.float32) for cell in cells])


def _listed(names: Sequence[str]) -> str:
    more = f" (+{len(names) - MOST_NAMED})" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _count(sidecar: JsonObject, key: str) -> int:
    value = sidecar.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1000 else 0
