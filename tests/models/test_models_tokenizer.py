from __future__ import annotations

import numpy as np
import pytest
import torch

from terrarium.models.build import build_tokenizer
from terrarium.models.frames import pool_frames, to_frames, to_video
from terrarium.models.tokenizer import VideoTokenizer
from tiny_models import random_video, stirred
from tiny_world import tiny_config

SIZES = [(64, 64), (128, 128), (64, 96), (8, 8)]


def make(size: tuple[int, int], *assignments: str) -> VideoTokenizer:
    torch.manual_seed(0)
    return build_tokenizer(tiny_config(*assignments), *size)


@pytest.mark.parametrize("size", SIZES)
def test_one_token_for_each_eight_by_eight_pixels(size: tuple[int, int]) -> None:
    tokenizer = stirred(make(size))
    rows, columns = size[0] // 8, size[1] // 8
    frames_NCHW = random_video(1, 3, size)[0]
    vectors_NPD, digits_NPD = tokenizer.encode(frames_NCHW)
    assert (tokenizer.rows, tokenizer.columns) == (rows, columns)
    assert vectors_NPD.shape == digits_NPD.shape == (3, rows * columns, 4)
    assert digits_NPD.dtype == torch.int64
    assert tokenizer.decode(vectors_NPD).shape == frames_NCHW.shape


def test_tokens_are_row_by_row() -> None:
    """In a frame that is not square rows and columns can't be swapped unseen."""
    tokenizer = stirred(make((64, 96)))
    vectors_NPD, _ = tokenizer.encode(random_video(1, 1, (64, 96))[0])
    changed_NPD = vectors_NPD.clone()
    changed_NPD[:, 7 * 12 + 11] *= -1  # the last row, the last column
    difference = (tokenizer.decode(changed_NPD) - tokenizer.decode(vectors_NPD)).abs().amax(1)[0]
    loudest = divmod(int(difference.argmax()), 96)
    assert loudest[0] >= 40
    assert loudest[1] >= 72


def test_frames_do_not_look_at_each_other() -> None:
    tokenizer = stirred(make((64, 64)))
    frames_NCHW = random_video(1, 3)[0]
    together, _ = tokenizer.encode(frames_NCHW)
    alone, _ = tokenizer.encode(frames_NCHW[1:2])
    torch.testing.assert_close(together[1:2], alone)


def test_forward_gives_the_loss_and_its_measures() -> None:
    tokenizer = make((64, 64)).train()
    result = tokenizer(random_video(2, 2))
    result.loss.backward()
    assert result.loss.shape == ()
    assert set(result.measures) == {"psnr", "codebook_usage"}
    assert 0 < float(result.measures["codebook_usage"]) <= 1
    assert not any(measure.requires_grad for measure in result.measures.values())
    dead = [name for name, p in tokenizer.named_parameters() if p.grad is None]
    assert dead == []


def test_an_error_costs_more_where_something_moves() -> None:
    tokenizer = make((64, 64))
    still = torch.full((1, 2, 3, 64, 64), 0.5)
    moving = still.clone()
    moving[:, 1, :, 8:16, 8:16] = 0.6
    weight = tokenizer.pixel_weight(moving)[:, 0]
    assert weight[:, 8:16, 8:16].min() > weight[:, 32:, 32:].max()
    assert weight.min() >= 1
    assert torch.equal(tokenizer.pixel_weight(still), torch.ones(2, 1, 64, 64))


def test_without_motion_or_weight_the_loss_is_the_plain_squared_error() -> None:
    tokenizer = make((64, 64), "video_tokenizer.motion_weight=0")
    video_BTCHW = random_video(2, 2)
    frames_NCHW = video_BTCHW.flatten(0, 1)
    painted = tokenizer.decode(tokenizer.encode(frames_NCHW)[0])
    torch.testing.assert_close(tokenizer(video_BTCHW).loss, ((painted - frames_NCHW) ** 2).mean())


def test_bytes_survive_the_way_through_floats() -> None:
    every_HWC = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    video_CHW = to_video(every_HWC)
    assert video_CHW.shape == (3, 16, 16)
    assert (to_frames(video_CHW) == every_HWC).all()
    assert to_frames(torch.tensor([-1.0, 2.0, 0.5]).view(3, 1, 1)).tolist() == [[[0, 255, 128]]]


@pytest.mark.parametrize(
    ("size", "height", "pooled"),
    [
        ((64, 64), 32, (32, 32)),
        ((64, 96), 32, (32, 48)),
        ((32, 32), 32, (32, 32)),
        ((24, 24), 32, (24, 24)),
        ((128, 128), 32, (32, 32)),
    ],
)
def test_pooling_is_by_whole_factors(size: tuple[int, int], height: int, pooled: tuple[int, int]) -> None:
    frames = random_video(1, 2, size)[0]
    small = pool_frames(frames, height)
    assert small.shape == (2, 3, *pooled)
    torch.testing.assert_close(small.mean(), frames.mean())
