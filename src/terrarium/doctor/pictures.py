"""Pictures a stage drew while it trained: found, paired early against late, and made safe to show."""

from __future__ import annotations

import base64
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from terrarium.doctor.evidence import Picture
from terrarium.doctor.json_files import JsonObject, read_object
from terrarium.run import disk

PICTURE_NAME = re.compile(r"(?P<what>.+)_step_(?P<step>\d{1,15})\.png")
MOST_SUBJECTS = 4
MOST_FILES = 100_000
LARGEST_FILE_BYTES = 32 * 2**20
LARGEST_PICTURE_PIXELS = 32 * 10**6
LARGEST_SIDECAR_BYTES = 2**20
SHOWN_ROWS = 6
SHOWN_WIDTH = 1280
SHOWN_HEIGHT = 900
SMALLEST_WIDTH = 380
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Shown:
    """A picture as the page shows it.

    Attributes:
        uri: PNG data URI, or "" where the file could not be read.
        width: CSS pixels it is shown at: a whole multiple of its own width where that is very small.
        height: CSS pixels likewise.
        row_labels: labels of the rows that are shown.
        reason: why there is no picture, or "".
    """

    uri: str
    width: int = 0
    height: int = 0
    row_labels: tuple[str, ...] = ()
    reason: str = ""


def find_pictures(stage_path: Path) -> tuple[Picture, ...]:
    """The earliest and the latest picture of each subject in `<stage>/visualizations`."""
    subjects: dict[str, dict[int, Path]] = {}
    for step, what, path in _named(stage_path / "visualizations"):
        subjects.setdefault(what, {})[step] = path
    chosen: list[Picture] = []
    for what, by_step in sorted(subjects.items())[:MOST_SUBJECTS]:
        first, last = min(by_step), max(by_step)
        ends = [(first, "only")] if first == last else [(first, "early"), (last, "late")]
        chosen.extend(_picture(stage_path.name, what, step, by_step[step], when) for step, when in ends)
    return tuple(chosen)


def _named(folder: Path) -> list[tuple[int, str, Path]]:
    """(step, what, path) of each picture; links are passed over, so nothing outside the folder is shown."""
    found: list[tuple[int, str, Path]] = []
    try:
        for path in folder.iterdir():
            match = PICTURE_NAME.fullmatch(path.name)
            if match and path.is_file() and not path.is_symlink():
                found.append((int(match["step"]), match["what"], path))
            if len(found) >= MOST_FILES:
                break
    except OSError:
        return found
    return found


def _picture(stage: str, what: str, step: int, path: Path, when: str) -> Picture:
    sidecar, _ = read_object(path.with_suffix(".json"), LARGEST_SIDECAR_BYTES)
    rows, columns = _count(sidecar, "rows"), _count(sidecar, "columns")
    labels = sidecar.get("row_labels")
    names = [str(label)[:40] for label in labels[:rows]] if isinstance(labels, list) else []
    return Picture(stage, what, step, path, when, rows, columns, tuple(names))


def _count(sidecar: JsonObject, key: str) -> int:
    value = sidecar.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1000 else 0


def show(picture: Picture) -> Shown:
    """Read one picture and encode it anew, cut to its first rows and bounded in size.

    Encoding it anew leaves behind whatever else the file held. A file that is no PNG, too large or damaged
    gives an empty picture with the reason.
    """
    try:
        content = disk.read_bounded(picture.path, LARGEST_FILE_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _read(content, picture)
    except UNREADABLE:
        return Shown("", reason=f"{picture.path.name} can't be read as a PNG")


def _read(content: bytes, picture: Picture) -> Shown:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if image.width * image.height > LARGEST_PICTURE_PIXELS:
            return Shown(
                "", reason=f"{picture.path.name} has too many pixels ({image.width} x {image.height})"
            )
        return _encode(image.convert("RGB"), picture)


def _encode(image: Image.Image, picture: Picture) -> Shown:
    rows = picture.rows if picture.rows <= image.height else 0
    shown_rows = min(rows, SHOWN_ROWS)
    if shown_rows:
        image = image.crop((0, 0, image.width, round(image.height * shown_rows / rows)))
    shrink = min(1.0, SHOWN_WIDTH / image.width, SHOWN_HEIGHT / image.height)
    if shrink < 1.0:
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(size, Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    zoom = max(1, SMALLEST_WIDTH // image.width)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Shown(uri, image.width * zoom, image.height * zoom, picture.row_labels[:shown_rows])
