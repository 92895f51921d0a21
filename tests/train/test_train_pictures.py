from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrarium.errors import RunError
from terrarium.run.folder import StageFolder, read_json
from terrarium.train.pictures import Picture, save_picture
from tiny_training import make_folder

CLIPS, FRAMES, HEIGHT, WIDTH = 2, 3, 4, 6


def clips(seed: int) -> Picture:
    truth, model = np.random.default_rng(seed).integers(
        0, 256, (2, CLIPS, FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8
    )
    return Picture("what", truth, model, [f"t + {t}" for t in range(FRAMES)])


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return make_folder(tmp_path / "run", "dynamics")


def test_truth_stands_above_what_the_model_made_of_it(folder: StageFolder) -> None:
    picture = clips(0)
    save_picture(picture, folder, 50)
    path = folder.visualizations_path / "what_step_50.png"
    grid = read_json(path.with_suffix(".json"))
    assert isinstance(grid, dict)
    assert grid == {
        "format": 1,
        "stage": "dynamics",
        "step": 50,
        "tile": [HEIGHT * grid["scale"], WIDTH * grid["scale"]],
        "scale": grid["scale"],
        "padding": grid["padding"],
        "rows": 2 * CLIPS,
        "columns": FRAMES,
        "row_labels": ["truth", "model", "truth", "model"],
        "column_labels": ["t + 0", "t + 1", "t + 2"],
    }
    pixels = np.asarray(Image.open(path))
    tall, wide = grid["tile"]
    for row in range(2 * CLIPS):
        rows_of = picture.truth_BTHWC if row % 2 == 0 else picture.model_BTHWC
        for column in range(FRAMES):
            top = grid["padding"] + row * (tall + grid["padding"])
            left = grid["padding"] + column * (wide + grid["padding"])
            tile = pixels[top : top + tall, left : left + wide]
            expected = rows_of[row // 2, column].repeat(grid["scale"], 0).repeat(grid["scale"], 1)
            assert np.array_equal(tile, expected)


def test_a_disk_that_takes_no_picture_is_one_clear_error(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_picture(clips(0), folder, 50)
    path = folder.visualizations_path / "what_step_50.png"
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"what_step_50\.png can't be written: No space left"):
        save_picture(clips(1), folder, 50)
    assert path.read_bytes() == before
    assert sorted(file.name for file in folder.visualizations_path.iterdir()) == [
        path.stem + ".json",
        path.name,
    ]
