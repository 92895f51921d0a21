"""What a picture shows, in a few numbers that do not depend on its contrast or brightness."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.evidence import Look, Pair

Grey: TypeAlias = NDArray[np.float32]

GRAIN = 1.0  # grey levels of noise that rounding and compression leave in a flat picture
FLAT_CONTRAST = 1.5  # below this an image shows nothing
LOOKED_AT = 3  # frames of a clip whose structure is measured
PATCHES = (4, 8, 16, 32)


def look(frames_THW: Grey, seen_THW: NDArray[np.bool_] | None = None) -> Look:
    """Measure one clip: its structure as the median over a few frames, its motion over all.

    Args:
        frames_THW: grey levels, 0 to 255.
        seen_THW: where a pixel is really of its frame; elsewhere it says nothing about motion.
    """
    places = np.unique(np.linspace(0, len(frames_THW) - 1, LOOKED_AT).round().astype(int))
    chosen_NHW = frames_THW[places]
    centred_NHW = chosen_NHW - chosen_NHW.mean((1, 2), keepdims=True)
    contrast_N = centred_NHW.std((1, 2))
    measures = (
        effective_rank(centred_NHW),
        _fine(centred_NHW),
        _plain(centred_NHW, contrast_N),
        _striped(centred_NHW),
        _blocky(centred_NHW),
        _repeats(centred_NHW),
    )
    bare_N = contrast_N < FLAT_CONTRAST
    rank, fine, plain, striped, blocky, repeats = (
        float(np.median(np.where(bare_N, bare, measure)))
        for measure, bare in zip(measures, (1, 0, 1, 0, 0, 0), strict=True)
    )
    contrast = float(np.median(contrast_N))
    motion = _motion(frames_THW, seen_THW)
    return Look(rank, contrast, fine, motion, plain, striped, blocky, repeats)


def pair(truth_THW: Grey, model_THW: Grey, seen_THW: NDArray[np.bool_] | None = None) -> Pair:
    """Measure a clip of truth and what a model made of the same moments; `seen_THW` is of the truth."""
    return Pair(
        look(truth_THW, seen_THW),
        look(model_THW),
        float(np.abs(truth_THW - model_THW).mean()),
        _likeness(truth_THW, model_THW),
    )


def _likeness(truth_THW: Grey, model_THW: Grey) -> float:
    """Correlation, the median over the frames; NaN where one is flat."""
    truth = truth_THW - truth_THW.mean((1, 2), keepdims=True)
    model = model_THW - model_THW.mean((1, 2), keepdims=True)
    deviations_T = truth.std((1, 2)) * model.std((1, 2))
    if deviations_T.min() < FLAT_CONTRAST**2:
        return math.nan
    return float(np.median((truth * model).mean((1, 2)) / deviations_T))


def effective_rank(centred_NHW: Grey) -> Grey:
    """exp of the entropy of the normalised singular values [N] (Roy & Vetterli 2007), at least 1.

    What grain of one grey level adds to singular values is taken off first: rounding has full rank.
    """
    values_NK = np.linalg.svd(centred_NHW, compute_uv=False)
    height, width = centred_NHW.shape[1:]
    values_NK = (values_NK - GRAIN * (math.sqrt(height) + math.sqrt(width))).clip(0)
    share_NK = values_NK / values_NK.sum(1, keepdims=True).clip(1e-9)
    entropy_N = -(share_NK * np.log(share_NK.clip(1e-12))).sum(1)
    return np.asarray(np.exp(entropy_N), np.float32)


def _fine(centred_NHW: Grey) -> Grey:
    """Share [N] of the spectrum's energy in its finest octave."""
    height, width = centred_NHW.shape[1:]
    window_HW = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    power_NHK = np.abs(np.fft.rfft2(centred_NHW * window_HW)) ** 2
    power_NHK[:, :, 1 : (width + 1) // 2] *= 2  # the half that a real transform leaves out
    power_NHK[:, 0, 0] = 0
    total_N = power_NHK.sum((1, 2)).clip(1e-9)
    frequency_HK = np.maximum(np.abs(np.fft.fftfreq(height))[:, None], np.fft.rfftfreq(width))
    return np.asarray(power_NHK[:, frequency_HK > 0.25].sum(1) / total_N, np.float32)


def _plain(centred_NHW: Grey, contrast_N: Grey) -> Grey:
    """Share [N] of pixels that are like their neighbours below and to the right."""
    close_N11 = (0.06 * contrast_N + 0.75)[:, None, None]
    down_NHW = np.abs(np.diff(centred_NHW, axis=1))[:, :, 1:] < close_N11
    across_NHW = np.abs(np.diff(centred_NHW, axis=2))[:, 1:] < close_N11
    return np.asarray((down_NHW & across_NHW).mean((1, 2)), np.float32)


def _striped(centred_NHW: Grey) -> Grey:
    """Share [N] of the variance that is one value per row, or one per column, whichever is more."""
    total_N = (centred_NHW**2).mean((1, 2)).clip(1e-9)
    lines_N = np.maximum((centred_NHW.mean(2) ** 2).mean(1), (centred_NHW.mean(1) ** 2).mean(1))
    return np.asarray(lines_N / total_N, np.float32)


def _blocky(centred_NHW: Grey) -> Grey:
    """How much better patches on their lattice explain the image than patches half a step aside [N], to 1."""
    best_N = np.zeros(len(centred_NHW), np.float32)
    for side in PATCHES:
        if min(centred_NHW.shape[1:]) < 3 * side:
            continue
        half = side // 2
        rest_N = _within(centred_NHW, side)
        aside_N = _within(centred_NHW[:, half : -half or None, half : -half or None], side)
        there_N = aside_N > 0.02 * (centred_NHW**2).mean((1, 2))
        best_N = np.maximum(best_N, np.where(there_N, 1 - rest_N / aside_N.clip(1e-9), 0))
    return best_N


def _within(images_NHW: Grey, side: int) -> Grey:
    """Mean variance [N] inside patches of so many pixels."""
    count, height, width = images_NHW.shape
    rows, columns = height // side, width // side
    cut = images_NHW[:, : rows * side, : columns * side].reshape(count, rows, side, columns, side)
    return np.asarray(cut.var((2, 4)).mean((1, 2)), np.float32)


def _repeats(centred_NHW: Grey) -> Grey:
    """How exactly the image repeats along its rows or along its columns [N], to 1."""
    return np.maximum(_repeats_along(centred_NHW), _repeats_along(centred_NHW.swapaxes(1, 2)))


def _repeats_along(centred_NHW: Grey) -> Grey:
    """The highest correlation with itself moved down, by at least as far as it has once lost likeness [N]."""
    height = centred_NHW.shape[1]
    spectrum = np.fft.rfft(centred_NHW, 2 * height, axis=1)
    overlap_NH = np.fft.irfft((np.abs(spectrum) ** 2).sum(2), axis=1)[:, : height // 2 + 1]
    energy_NH = (centred_NHW**2).sum(2)
    before = np.cumsum(energy_NH, 1)[:, ::-1][:, : height // 2 + 1]
    after = np.cumsum(energy_NH[:, ::-1], 1)[:, ::-1][:, : height // 2 + 1]
    likeness_NH = overlap_NH / np.sqrt(before * after).clip(1e-6)
    lowest_NH = np.minimum.accumulate(likeness_NH, 1)
    return np.asarray((likeness_NH - lowest_NH.clip(0)).max(1), np.float32)


def _motion(frames_THW: Grey, seen_THW: NDArray[np.bool_] | None) -> float:
    """Mean absolute difference of neighbouring frames, grey levels; NaN where there is nothing to compare."""
    change_THW = np.abs(np.diff(frames_THW, axis=0))
    if seen_THW is not None:
        both_THW = seen_THW[1:] & seen_THW[:-1]
        return float(change_THW[both_THW].mean()) if both_THW.mean() > 0.02 else math.nan
    return float(change_THW.mean()) if change_THW.size else math.nan
