"""How alike two pictures are: PSNR on all and on moving pixels, and SSIM. All on uint8 RGB, 0 to 255."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Frames = NDArray[np.uint8]
Floats = NDArray[np.float64]

PEAK = 255.0
CAP_DB = 60.0  # for identical frames, whose infinite PSNR would swamp every mean
MOVING_ABOVE = 8  # of 255: more than the noise of video codecs and of dithering
MIN_MOVING_PIXELS = 4  # so that a ball of 2x2 pixels still counts

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_CHUNK = 64  # frames at once; bounds memory


def psnr(frames_NHWC: Frames, truth_NHWC: Frames) -> Floats:
    """Peak signal-to-noise ratio of each frame (N,) in dB, at most `CAP_DB`."""
    error_NHW = _squared_error(frames_NHWC, truth_NHWC)
    return to_decibels(error_NHW.mean((1, 2)))


def moving_pixels(previous_NHWC: Frames, frames_NHWC: Frames) -> NDArray[np.bool_]:
    """Which pixels (N, H, W) differ from the previous true frame by more than `MOVING_ABOVE` in a channel."""
    change_NHWC = np.abs(frames_NHWC.astype(np.int16) - previous_NHWC.astype(np.int16))
    moving_NHW: NDArray[np.bool_] = change_NHWC.max(-1) > MOVING_ABOVE
    return moving_NHW


def moving_psnr(frames_NHWC: Frames, truth_NHWC: Frames, moving_NHW: NDArray[np.bool_]) -> Floats:
    """PSNR in dB over the moving pixels of each frame.

    Returns:
        One figure (M,) for each frame with at least `MIN_MOVING_PIXELS` moving pixels, at most `CAP_DB`. The
        others are left out: there is nothing to measure in them.
    """
    count_N = moving_NHW.sum((1, 2))
    enough_N = count_N >= MIN_MOVING_PIXELS
    error_N = (_squared_error(frames_NHWC, truth_NHWC) * moving_NHW).sum((1, 2))
    return to_decibels(error_N[enough_N] / count_N[enough_N])


def to_decibels(mean_squared_error: Floats) -> Floats:
    """PSNR in dB of mean squared errors on the scale 0 to 255, at most `CAP_DB`."""
    least = PEAK**2 / 10 ** (CAP_DB / 10)
    decibels: Floats = 10 * np.log10(PEAK**2 / np.maximum(mean_squared_error, least))
    return decibels


def ssim(frames_NHWC: Frames, truth_NHWC: Frames) -> Floats:
    """Structural similarity of each frame (N,), 1 for identical ones (Wang et al. 2004, equation 13).

    With the paper's Gaussian window of 11x11 pixels, sigma 1.5, K1 = 0.01 and K2 = 0.03; the mean over all
    places where the window fits and over colour channels.

    Raises:
        ValueError: the frames are smaller than the window.
    """
    if min(truth_NHWC.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(f"frames are smaller than SSIM's window of {SSIM_WINDOW} pixels")
    chunks = range(0, len(truth_NHWC), SSIM_CHUNK)
    parts = [
        _ssim(frames_NHWC[start : start + SSIM_CHUNK], truth_NHWC[start : start + SSIM_CHUNK])
        for start in chunks
    ]
    return np.concatenate([part.numpy() for part in parts])


def _squared_error(frames_NHWC: Frames, truth_NHWC: Frames) -> Floats:
    """Mean over channels of the squared difference (N, H, W), exact: integers until the mean."""
    difference_NHWC = frames_NHWC.astype(np.int32) - truth_NHWC.astype(np.int32)
    error_NHW: Floats = (difference_NHWC**2).mean(-1)
    return error_NHW


def _ssim(frames_NHWC: Frames, truth_NHWC: Frames) -> Tensor:
    x, y = _planes(frames_NHWC), _planes(truth_NHWC)
    mean_x, mean_y = _blur(x), _blur(y)
    # variances and covariance as E[ab] - E[a] E[b]: float64 makes the subtraction safe
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    ssim_N: Tensor = (luminance * structure).flatten(1).mean(1).unflatten(0, (-1, 3)).mean(1)
    return ssim_N


def _planes(frames_NHWC: Frames) -> Tensor:
    """Every channel of every frame as a picture of its own (N * 3, H, W), float64."""
    planes_NCHW = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).permute(0, 3, 1, 2)
    return planes_NCHW.flatten(0, 1).double()


def _blur(planes_NHW: Tensor) -> Tensor:
    """The Gaussian window's weighted mean around each pixel where it fits.

    Two products with banded matrices: on small pictures several times faster than convolutions.
    """
    height, width = planes_NHW.shape[1:]
    return _window_rows(height) @ planes_NHW @ _window_rows(width).T


def _window_rows(size: int) -> Tensor:
    """One row for each place where the window fits (size - 10, size): its weights at that place."""
    centre = torch.arange(size - SSIM_WINDOW + 1)[:, None] + SSIM_WINDOW // 2
    offset = torch.arange(size)[None] - centre
    weights = torch.exp(-(offset.double() ** 2) / (2 * SSIM_SIGMA**2)) * (offset.abs() <= SSIM_WINDOW // 2)
    return weights / weights.sum(1, keepdim=True)
