"""Pictures of truth beside model, with a sidecar that says what is where."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import StageFolder, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCALE, PADDING = 2, 2


@dataclass(frozen=True)
class Picture:
    """Clips to draw, each as a row of truth above a row of what the model made of it.

    Attributes:
        name: what it shows; the file name begins with it.
        truth_BTHWC: uint8.
        model_BTHWC: uint8, of the same shape.
        columns: what each column is, in words.
    """

    name: str
    truth_BTHWC: NDArray[np.uint8]
    model_BTHWC: NDArray[np.uint8]
    columns: list[str]


def save_picture(picture: Picture, folder: StageFolder, step: int) -> None:
    """Write `<name>_step_<step>.png` and its sidecar `.json` into the stage's visualizations.

    Raises:
        RunError: the disk can't be written.
    """
    clips, frames, height, width, _ = picture.truth_BTHWC.shape
    rows_RTHWC = np.stack([picture.truth_BTHWC, picture.model_BTHWC], 1).reshape(
        2 * clips, frames, height, width, 3
    )
    path = folder.visualizations_path / f"{picture.name}_step_{step}.png"
    png = io.BytesIO()
    Image.fromarray(_grid(rows_RTHWC)).save(png, "png")
    try:
        folder.visualizations_path.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, png.getvalue())  # a reader of a live run never sees half a picture
    except OSError as error:
        raise RunError(f"{path} can't be written: {disk.why(error)}", "Free some space and resume") from error
    sidecar = {
        "format": 1,
        "stage": folder.name,
        "step": step,
        "tile": [height * SCALE, width * SCALE],
        "scale": SCALE,
        "padding": PADDING,
        "rows": 2 * clips,
        "columns": frames,
        "row_labels": ["truth", "model"] * clips,
        "column_labels": picture.columns,
    }
    write_json(path.with_suffix(".json"), sidecar)


def _grid(rows_RTHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles side by side on white, `PADDING` pixels before each and after the last."""
    rows, frames, height, width, _ = rows_RTHWC.shape
    tall, wide = height * SCALE + PADDING, width * SCALE + PADDING
    canvas = np.full((rows * tall + PADDING, frames * wide + PADDING, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(frames):
            tile = rows_RTHWC[row, column].repeat(SCALE, 0).repeat(SCALE, 1)
            top, left = row * tall + PADDING, column * wide + PADDING
            canvas[top : top + height * SCALE, left : left + width * SCALE] = tile
    return canvas
