"""PSNR and SSIM against numbers known beforehand and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from terrarium.evaluate.fidelity import CAP_DB, moving_pixels, moving_psnr, psnr, ssim


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def similar(frames_NHWC: NDArray[np.uint8], amount: int) -> NDArray[np.uint8]:
    shift = np.random.default_rng(9).integers(-amount, amount + 1, frames_NHWC.shape)
    return np.clip(frames_NHWC.astype(int) + shift, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_scikit_image() -> None:
    truth = noise(5, 24, 32, 3)
    frames = similar(truth, 20)
    pairs = zip(truth, frames, strict=True)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]  # type: ignore[no-untyped-call]
    assert psnr(frames, truth) == pytest.approx(expected, abs=1e-9)


def test_an_error_of_one_everywhere_is_48_decibels_whichever_its_sign() -> None:
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    frames = truth.copy()
    frames[0] += 1
    frames[1] -= 1
    assert psnr(frames, truth) == pytest.approx([48.1308, 48.1308], abs=1e-4)


def test_black_for_white_is_zero_decibels() -> None:
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    assert psnr(np.zeros_like(white), white) == pytest.approx([0])


def test_identical_frames_have_the_cap() -> None:
    truth = noise(1, 8, 8, 3)
    assert psnr(truth, truth) == pytest.approx([CAP_DB])


def test_pixels_move_when_one_channel_changes_by_more_than_eight() -> None:
    before = np.full((1, 2, 2, 3), 100, np.uint8)
    after = before.copy()
    after[0, 0, 0] = 108  # not more than 8
    after[0, 0, 1, 2] = 109
    after[0, 1, 0, 1] = 91
    assert moving_pixels(before, after)[0].tolist() == [[False, True], [True, False]]


def test_moving_psnr_sees_moving_pixels_alone() -> None:
    truth = np.full((1, 8, 8, 3), 100, np.uint8)
    frames, moving = truth.copy(), np.zeros((1, 8, 8), np.bool_)
    moving[0, :2, :4] = True
    frames[0, 4:] = 255  # where nothing moves, nobody looks
    frames[0, :1, :4] = 110  # half of the moving pixels are off by 10
    assert moving_psnr(frames, truth, moving) == pytest.approx([10 * np.log10(255**2 / 50)])


def test_frames_without_motion_are_left_out_of_moving_psnr() -> None:
    truth = noise(3, 8, 8, 3)
    moving = np.zeros((3, 8, 8), np.bool_)
    moving[1, 0, :3] = True  # fewer than 4 pixels
    moving[2, 0, :4] = True
    assert moving_psnr(similar(truth, 30), truth, moving).shape == (1,)


@pytest.mark.parametrize("amount", [3, 40, 255])
@pytest.mark.parametrize("size", [(11, 11), (24, 40)])
def test_ssim_is_that_of_scikit_image(amount: int, size: tuple[int, int]) -> None:
    truth = np.sort(noise(3, *size, 3), axis=1)  # smooth downwards, rough across
    frames = similar(truth, amount)
    expected = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
        )
        for a, b in zip(truth, frames, strict=True)
    ]
    assert ssim(frames, truth) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_identical_frames_is_one_over_several_chunks() -> None:
    truth = noise(70, 12, 12, 3)
    assert ssim(truth, truth) == pytest.approx(np.ones(70))


def test_ssim_refuses_frames_smaller_than_its_window() -> None:
    truth = noise(1, 8, 16, 3)
    with pytest.raises(ValueError, match="window of 11"):
        ssim(truth, truth)
