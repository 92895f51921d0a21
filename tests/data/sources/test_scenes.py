from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from video_samples import scene

from terrarium.data.sources.scenes import Shot, episodes, mark_cuts

Frames = list[NDArray[np.uint8]]


def cuts(frames: Frames) -> list[int]:
    return [number for number, shot in enumerate(mark_cuts(map(Shot, frames))) if shot.begins]


def test_a_change_of_scene_is_a_cut() -> None:
    assert cuts(scene(0, 30) + scene(1, 30) + scene(2, 30)) == [30, 60]


def test_a_walking_figure_is_not() -> None:
    assert cuts(scene(0, 120)) == []


def test_a_flash_is_not() -> None:
    frames = scene(0, 60)
    white = np.full_like(frames[0], 255)
    assert cuts([*frames[:30], white, *frames[31:]]) == []
    assert cuts([*frames[:30], white, white, *frames[32:]]) == []
    assert cuts([*frames[:30], *[white] * 10, *frames[40:]]) == [30, 40], (
        "a white screen that stays is a scene"
    )


def test_a_moving_camera_is_not() -> None:
    world = np.concatenate([frame for seed in range(8) for frame in scene(seed, 1)], axis=1)
    frames = [world[:, left : left + 64] for left in range(0, world.shape[1] - 64, 6)]
    assert cuts(frames) == []


def test_a_fade_is_not() -> None:
    frames = scene(0, 60)
    faded = [(frame * (1 - time / 60)).astype(np.uint8) for time, frame in enumerate(frames)]
    assert cuts(faded) == []


def test_every_frame_comes_through_in_order() -> None:
    frames = scene(0, 20) + scene(1, 20)
    assert all(
        shot.frame_HWC is frame for shot, frame in zip(mark_cuts(map(Shot, frames)), frames, strict=True)
    )


def test_episodes_begin_where_marked_and_are_bounded() -> None:
    frames = scene(0, 25)
    shots = [Shot(frame, number in {4, 6}) for number, frame in enumerate(frames)]
    assert [len(list(run)) for run in episodes(shots, 10)] == [4, 2, 10, 9]
    assert list(episodes([], 10)) == []
