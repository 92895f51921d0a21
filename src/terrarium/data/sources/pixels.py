"""Pictures of any size and kind, turned into frames: uint8 RGB of the dataset's size.

Frames are stretched to the target size, never letterboxed, so that every stored pixel shows the game. Each
pixel is the plain average of the area that it covers, which keeps small bright things visible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]  # height, width


def to_frame(picture: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize one picture.

    Args:
        picture: uint8, H W (grey), H W 1 (grey), H W 3 (RGB) or H W 4 (RGB and alpha, which is dropped).
        size: height and width of the frame.

    Returns:
        uint8 RGB of shape (height, width, 3).
    """
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, :3]))
    if picture.shape[:2] != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(image)
