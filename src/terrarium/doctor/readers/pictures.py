"""Pictures that a stage drew while it trained: found, chosen, and the truth in each held against the model.

Ours are grids with a sidecar that says which row shows what. Figures without one are taken as TinyWorlds
draws them: the originals on the left half, the model's on the right.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from terrarium.doctor.evidence import Missing, Picture
from terrarium.doctor.json_files import JsonObject, read_object
from terrarium.run import disk

PICTURE_NAME = re.compile(r"(?P<what>.+)_step_(?P<step>\d{1,15})\.png")
MOST_SUBJECTS = 4
MOST_FILES = 100_000
MOST_EXAMINED = 12  # pictures of a stage, all subjects together
LAST_EXAMINED = 5  # of a subject without gaps: what lasts is told from the latest
LARGEST_FILE_BYTES = 32 * 2**20
LARGEST_PICTURE_PIXELS = 32 * 10**6
LARGEST_SIDECAR_BYTES = 2**20
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def examine_pictures(stage_path: Path) -> tuple[tuple[Picture, ...], tuple[Missing, ...]]:
    """Find the pictures in `<stage>/visualizations` and look at a well-spread few of them.

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
    shown = sorted(subjects.items())[:MOST_SUBJECTS]
    most = MOST_EXAMINED // len(shown)
    pictures = []
    for what, by_step in shown:
        steps = sorted(by_step)
        marks = _marks(steps)
        pictures += [
            _picture(stage, what, step, by_step[step], marks.get(step, "")) for step in _spread(steps, most)
        ]
    found = sum(len(by_step) for by_step in subjects.values())
    missing = []
    if found > len(pictures):
        missing.append(Missing(stage, "pictures", "pictures-left-out", f"{found - len(pictures)} / {found}"))
    return tuple(pictures), tuple(missing)


def find_pictures(stage_path: Path) -> tuple[Picture, ...]:
    """The earliest and the latest picture of each subject in `<stage>/visualizations`."""
    pictures, _ = examine_pictures(stage_path)
    return tuple(picture for picture in pictures if picture.when)


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


def _marks(steps: Sequence[int]) -> dict[int, str]:
    return {steps[0]: "only"} if len(steps) == 1 else {steps[0]: "early", steps[-1]: "late"}


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """At most so many steps: the first, the last few, and others evenly between; `steps` rise."""
    if len(steps) <= most:
        return list(steps)
    last = min(LAST_EXAMINED, most - 1)
    places = np.linspace(0, len(steps) - 1 - last, most - last).round().astype(int)
    return [steps[place] for place in places] + list(steps[-last:])


def _picture(stage: str, what: str, step: int, path: Path, when: str) -> Picture:
    sidecar, _ = read_object(path.with_suffix(".json"), LARGEST_SIDECAR_BYTES)
    rows, columns = _count(sidecar, "rows"), _count(sidecar, "columns")
    labels = sidecar.get("row_labels")
    names = [str(label)[:40] for label in labels[:rows]] if isinstance(labels, list) else []
    return Picture(stage, what, step, path, when, rows, columns, tuple(names))


def _count(sidecar: JsonObject, key: str) -> int:
    value = sidecar.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1000 else 0
