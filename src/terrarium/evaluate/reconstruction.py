"""Scores of the video tokenizer: held-out frames through tokens and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Dataset
from terrarium.data.places import Place, chunks, mean_frame, spread_places
from terrarium.evaluate.fidelity import SSIM_WINDOW, Floats, Frames, moving_pixels, moving_psnr, psnr, ssim
from terrarium.evaluate.measured import Figures, mean
from terrarium.evaluate.trained import Trained

NO_MOTION = "nothing moves from one held-out frame to the next"
TOO_SMALL = f"frames are smaller than the window of {SSIM_WINDOW} pixels"


def score_tokenizer(models: Trained, dataset: Dataset, frames: int) -> Figures:
    """PSNR in dB and SSIM (-1 to 1) of at most `frames` held-out frames, each a mean over frames.

    `moving_psnr` covers only pixels that differ from the previous true frame. On the same pixels there are
    two floors, pictures that need no tokenizer: `copy_last_moving_psnr` (the previous true frame) and
    `mean_frame_moving_psnr` (the mean of training frames). `codes_used` counts distinct tokens.
    """
    places = spread_places(dataset.held_out, 1, frames)
    mean_HWC = mean_frame(dataset.train)
    rows: list[dict[str, Floats]] = []
    used: set[int] = set()
    for truth, before in zip(chunks(places), chunks(_befores(places)), strict=True):
        row, tokens_NP = _score_chunk(models, truth[:, 0], before[:, 0], mean_HWC)
        rows.append(row)
        used |= set(np.unique(tokens_NP).tolist())
    return {
        **mean("psnr", _column(rows, "psnr"), "no held-out frames"),
        **mean("moving_psnr", _column(rows, "moving"), NO_MOTION),
        **mean("ssim", _column(rows, "ssim"), TOO_SMALL),
        "codes_used": len(used),
        "codes": models.tokenizer.quantizer.codes,
        **mean("copy_last_moving_psnr", _column(rows, "copy_last"), NO_MOTION),
        **mean("mean_frame_moving_psnr", _column(rows, "mean_frame"), NO_MOTION),
        "frames": len(places),
        "frames_with_motion": sum(len(row["moving"]) for row in rows),
    }


def _score_chunk(
    models: Trained, truth_NHWC: Frames, before_NHWC: Frames, mean_HWC: Frames
) -> tuple[dict[str, Floats], NDArray[np.int64]]:
    painted_NHWC, tokens_NP = models.reconstruct(truth_NHWC)
    moving_NHW = moving_pixels(before_NHWC, truth_NHWC)
    large_enough = min(truth_NHWC.shape[1:3]) >= SSIM_WINDOW
    mean_NHWC = np.broadcast_to(mean_HWC, truth_NHWC.shape)
    row = {
        "psnr": psnr(painted_NHWC, truth_NHWC),
        "ssim": ssim(painted_NHWC, truth_NHWC) if large_enough else np.zeros(0),
        "moving": moving_psnr(painted_NHWC, truth_NHWC, moving_NHW),
        "copy_last": moving_psnr(before_NHWC, truth_NHWC, moving_NHW),
        "mean_frame": moving_psnr(mean_NHWC, truth_NHWC, moving_NHW),
    }
    return row, tokens_NP


def _befores(places: Sequence[Place]) -> list[Place]:
    """The frame before each; the first frame of an episode stands for itself, so that nothing moves in it."""
    return [Place(place.episode, max(0, place.start - 1), 1) for place in places]


def _column(rows: Sequence[dict[str, Floats]], name: str) -> list[Floats]:
    return [row[name] for row in rows]
