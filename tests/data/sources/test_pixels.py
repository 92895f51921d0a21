from __future__ import annotations

import numpy as np
import pytest

from terrarium.data.sources.pixels import to_frame


@pytest.mark.parametrize("shape", [(8, 12), (8, 12, 1), (8, 12, 3), (8, 12, 4)])
def test_every_kind_of_picture_becomes_rgb(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    frame_HWC = to_frame(picture, (8, 12))
    assert frame_HWC.shape == (8, 12, 3)
    colours = picture.reshape(8, 12, -1)[:, :, :3]
    assert np.array_equal(frame_HWC, np.broadcast_to(colours, (8, 12, 3)))


def test_shrinking_is_the_average_over_each_area() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    average = picture.reshape(4, 4, 6, 4, 3).mean((1, 3))
    assert np.abs(to_frame(picture, (4, 6)) - average).max() <= 1
