"""The whole idea in seconds: footage, three stages, and a world that is stepped through."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from terrarium import Dataset, World, pipeline
from tiny_training import Told
from tiny_world import store_footage, tiny_config


def test_from_footage_to_a_world(quick_disk: None, tmp_path: Path) -> None:
    footage = store_footage(tmp_path / "footage")
    pipeline.train(tmp_path / "run", footage.path, tiny_config(), Told())

    episode = Dataset.open(tmp_path / "footage").held_out[0]
    assert episode.frames_THWC.dtype == np.uint8
    assert episode.actions_T is not None
    assert len(episode.actions_T) == len(episode)

    world = World.load(tmp_path / "run")
    codes = world.infer_actions(episode.frames_THWC)
    assert codes.shape == (len(episode) - 1,)
    world.reset(episode.frames_THWC[: world.context_frames])
    for code in range(world.actions):
        frame_HWC = world.step(code)
        assert frame_HWC.shape == (64, 64, 3)
        assert frame_HWC.dtype == np.uint8
    assert (tmp_path / "run" / "report.html").exists()
