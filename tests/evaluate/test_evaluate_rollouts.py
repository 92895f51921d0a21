"""Roll-outs: batched ones are the world's own, moving clips are those that move, floors are floors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_samples import Simulator, draw_square, play_square, store_squares, tiny_config, untrained

from terrarium.data.dataset import Dataset
from terrarium.data.writer import DatasetWriter
from terrarium.evaluate.fidelity import CAP_DB
from terrarium.evaluate.rollouts import score_rollouts


@pytest.mark.parametrize("shown", [1, 3, 4])
def test_a_batch_of_dreams_is_the_worlds_own_dreams(shown: int) -> None:
    models = untrained(tiny_config("dynamics.decoding_steps=1"))  # with more, the order drawn depends on B
    clips = np.stack([play_square(shown + 6, seed)[0] for seed in range(3)])
    codes_BT = models.infer_actions(clips)
    ours = models.dream(clips[:, :shown], codes_BT[:, : shown - 1], codes_BT[:, shown - 1 :], 0)
    world = models.world(0)
    theirs = np.stack([world.dream(clip, shown)[-1] for clip in clips])
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # sums in another order may round otherwise
    assert len({frame.tobytes() for frame in theirs}) > 1  # or the test would prove nothing


def test_one_dream_is_the_worlds_own_with_several_decoding_steps() -> None:
    models = untrained(tiny_config("dynamics.decoding_steps=3"))
    clip = play_square(9, 0)[0]
    codes_BT = models.infer_actions(clip[None])
    ours = models.dream(clip[None, :4], codes_BT[:, :3], codes_BT[:, 3:], 7)
    assert np.abs(ours[0].astype(int) - models.world(7).dream(clip, 4)[-1]).max() <= 1


def test_a_perfect_world_is_perfect_and_above_both_floors(tmp_path: Path) -> None:
    figures: Any = score_rollouts(Simulator.make(), store_squares(tmp_path / "d"), 12, (1, 4, 16), 0)
    for horizon in ("1", "4", "16"):
        assert figures["rollout_psnr"][horizon] == pytest.approx(CAP_DB)
        assert figures["rollout_psnr_all"][horizon] == pytest.approx(CAP_DB)
        assert figures["tokenizer_ceiling_psnr"][horizon] == pytest.approx(CAP_DB)
        assert figures["copy_last_psnr"][horizon] < 30
        assert figures["mean_frame_psnr"][horizon] < 30


def test_moving_clips_are_those_above_the_median(tmp_path: Path) -> None:
    """Half of the episodes stand still: on all clips a copied frame looks good, on moving ones it doesn't."""
    still, jumps = np.full(33, 8), 8 + 8 * np.arange(33)
    figures: Any = score_rollouts(Simulator.make(), store(tmp_path, [still, jumps] * 4), 64, (1,), 0)
    assert figures["copy_last_psnr_all"]["1"] > figures["copy_last_psnr"]["1"] + 15
    assert 0 < figures["moving_clips"]["1"] <= figures["clips"]["1"] / 2


def test_horizons_beyond_the_footage_say_so(tmp_path: Path) -> None:
    figures: Any = score_rollouts(Simulator.make(), store_squares(tmp_path / "d"), 12, (4, 30), 0)
    assert figures["rollout_psnr"]["30"] is None
    assert figures["copy_last_psnr_all"]["30"] is None
    assert figures["reason_30"] == "no held-out episode is longer than 30 frames"
    assert "reason_4" not in figures


def test_a_short_episode_shortens_the_context_and_is_counted(tmp_path: Path) -> None:
    figures: Any = score_rollouts(Simulator.make(), store_squares(tmp_path / "d"), 12, (27,), 0)
    assert (figures["clips"], figures["short_context_clips"]) == ({"27": 2}, {"27": 2})
    assert figures["rollout_psnr_all"]["27"] == pytest.approx(CAP_DB)


def test_footage_that_stands_still_has_no_moving_clips(tmp_path: Path) -> None:
    figures: Any = score_rollouts(Simulator.make(), store(tmp_path, [np.full(20, 8)] * 6), 12, (4,), 0)
    assert figures["rollout_psnr"] == {"4": None}
    assert figures["rollout_psnr_all"]["4"] == pytest.approx(CAP_DB)
    assert figures["reason_4"] == "all held-out clips change alike over 4 frames"


def test_a_single_clip_is_not_above_its_own_median(tmp_path: Path) -> None:
    dataset = store_squares(tmp_path / "one", (60,))
    figures: Any = score_rollouts(Simulator.make(), dataset, 12, (8,), 0)
    assert figures["clips"] == {"8": 1}
    assert figures["rollout_psnr"] == {"8": None}
    assert "only one held-out clip" in figures["reason_8"]


def store(tmp_path: Path, positions: list[Any]) -> Dataset:
    with DatasetWriter(
        tmp_path / "drawn",
        height=32,
        width=32,
        frames_per_second=10,
        source="squares",
        held_out_fraction=0.5,
    ) as writer:
        for positions_T in positions:
            writer.add_episode(draw_square(positions_T))
    return Dataset.open(tmp_path / "drawn")
