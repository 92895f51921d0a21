"""Pictures a stage drew while it trained, made safe to show."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from terrarium.doctor.evidence import Picture
from terrarium.doctor.readers.pictures import UNREADABLE, open_picture

SHOWN_ROWS = 6
SHOWN_WIDTH = 1280
SHOWN_HEIGHT = 900
SMALLEST_WIDTH = 380


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


def show(picture: Picture) -> Shown:
    """Read one picture and encode it anew, cut to its first rows and bounded in size.

    Encoding it again drops whatever else the file held. A file that is not a PNG, too large or damaged gives
    an empty picture with the reason.
    """
    try:
        with open_picture(picture.path) as image:
            return _encode(image.convert("RGB"), picture)
    except UNREADABLE:
        return Shown("", reason=f"{picture.path.name} can't be read as a PNG")


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
