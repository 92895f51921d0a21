from __future__ import annotations

import math

import pytest
import torch

from terrarium.models.build import build_latent_actions
from terrarium.models.latent_actions import LatentActions
from tiny_models import random_video, stirred
from tiny_world import moving_square, tiny_config

CLIPS, FRAMES = 6, 7


def make(*assignments: str) -> LatentActions:
    torch.manual_seed(0)
    return build_latent_actions(tiny_config("latent_actions.bits=3", *assignments))


@pytest.fixture(scope="module")
def model() -> LatentActions:
    """Stirred, and its norm used to the features that come, so that all codes occur."""
    model = stirred(make())
    model.quantizer.train()
    for _ in range(60):
        model.encode(random_video(CLIPS, FRAMES))
    return model.eval()


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (64, 96)])
def test_a_code_for_each_change(size: tuple[int, int]) -> None:
    model = stirred(make())
    video_BTCHW = random_video(2, 5, size)
    signs_BTA, codes_BT = model.encode(video_BTCHW)
    assert model.codes == 8
    assert signs_BTA.shape == (2, 4, 3)
    assert codes_BT.shape == (2, 4)
    assert codes_BT.dtype == torch.int64
    assert torch.equal(model.quantizer.to_signs(codes_BT), signs_BTA)
    result = model(video_BTCHW)
    assert torch.isfinite(result.loss)


def test_the_code_at_t_is_of_frames_t_and_t_plus_1_alone(model: LatentActions) -> None:
    """The classic off-by-one: each code comes out the same when all other frames are cut off."""
    video_BTCHW = random_video(CLIPS, FRAMES)
    _, codes_BT = model.encode(video_BTCHW)
    assert codes_BT.unique().numel() > 4
    for t in range(FRAMES - 1):
        _, alone_B1 = model.encode(video_BTCHW[:, t : t + 2])
        assert torch.equal(alone_B1[:, 0], codes_BT[:, t])


@pytest.mark.parametrize("changed", range(FRAMES))
def test_another_frame_changes_only_the_codes_to_it_and_from_it(model: LatentActions, changed: int) -> None:
    video_BTCHW = random_video(CLIPS, FRAMES)
    other_BTCHW = video_BTCHW.clone()
    other_BTCHW[:, changed] = random_video(CLIPS, 1, seed=1)[:, 0]
    before, after = model.encode(video_BTCHW)[1], model.encode(other_BTCHW)[1]
    differing = set((before != after).any(0).nonzero().flatten().tolist())
    assert differing == {changed - 1, changed} & set(range(FRAMES - 1))


def test_the_order_of_two_frames_matters(model: LatentActions) -> None:
    video_BTCHW = random_video(CLIPS, 2)
    there, back = model.encode(video_BTCHW)[1], model.encode(video_BTCHW.flip(1))[1]
    assert not torch.equal(there, back)


@pytest.mark.parametrize("past", [0, 2])
def test_a_prediction_sees_its_past_and_its_own_code(past: int) -> None:
    model = stirred(make(f"latent_actions.past_frames={past}"))
    video_BTCHW = random_video(2, FRAMES)
    signs_BTA = model.quantizer.to_signs(torch.arange(2 * (FRAMES - 1)).view(2, -1) % 8)
    predicted = model.predict(video_BTCHW, signs_BTA)
    assert predicted.shape == (2, FRAMES - 1 - past, *model.pool(video_BTCHW).shape[2:])

    def frames_that_change(video_BTCHW: torch.Tensor, signs_BTA: torch.Tensor) -> list[int]:
        different = (model.predict(video_BTCHW, signs_BTA) != predicted).flatten(2).any(2).any(0)
        return [past + 1 + i for i in different.nonzero().flatten().tolist()]

    for t in range(FRAMES):
        other = video_BTCHW.clone()
        other[:, t] = 1 - other[:, t]
        first = max(t, past) + 1
        assert frames_that_change(other, signs_BTA) == list(range(first, min(t + past + 2, FRAMES)))
    for t in range(FRAMES - 1):
        flipped = signs_BTA.clone()
        flipped[:, t] *= -1
        assert frames_that_change(video_BTCHW, flipped) == ([t + 1] if t >= past else [])


def test_an_error_costs_more_where_something_moves() -> None:
    model = make()
    frames_THWC, _ = moving_square(4, seed=0)
    video = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)[None] / 255
    truth = model.pool(video)[:, 1:]
    assert model.error(video, truth).abs().max() == 0
    moving = (model.pool(video)[:, 1:] - model.pool(video)[:, :-1]).abs().sum(2, keepdim=True) > 0
    on_motion = model.error(video, truth + 0.1 * moving).sum() / moving.sum()
    elsewhere = model.error(video, truth + 0.1 * ~moving).sum() / (~moving).sum()
    assert on_motion > 3 * elsewhere


def test_the_measures_say_how_codes_are_used() -> None:
    model = make().train()
    measures = model(random_video(8, 5)).measures
    assert set(measures) == {"squared_error", "action_entropy", "unique_actions", "codebook_usage"}
    assert 0 < float(measures["action_entropy"]) <= math.log(8) + 1e-6
    assert float(measures["unique_actions"]) == 8 * float(measures["codebook_usage"])


def test_a_few_steps_teach_codes_that_matter() -> None:
    """On squares that move one of four ways, the code must be worth something to the decoder."""
    torch.manual_seed(0)
    model = make("latent_actions.past_frames=0", "latent_actions.past_dropout=0").train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    clips = [moving_square(5, seed)[0] for seed in range(8)]
    video = torch.stack([torch.from_numpy(clip) for clip in clips]).permute(0, 1, 4, 2, 3) / 255
    chance = float(model.error(video, model.pool(video)[:, :-1]).mean())
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(video).loss
        loss.backward()
        optimizer.step()
    model.eval()
    signs_BTA, _ = model.encode(video)
    own = float(model.error(video, model.predict(video, signs_BTA)).mean().detach())
    shuffled = float(model.error(video, model.predict(video, signs_BTA.flip(0))).mean().detach())
    assert own < 0.5 * chance
    assert shuffled > 2 * own
