"""Frames in their two forms: uint8 arrays (..., H, W, 3), and float tensors for models."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def to_video(frames: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """uint8 frames (..., H, W, 3) to float32 (..., 3, H, W) in [0, 1]."""
    # a copy, because torch warns about read-only arrays such as memory maps
    unit = torch.from_numpy(np.array(frames)).to(device).float() / 255
    return unit.movedim(-1, -3).contiguous()


def to_frames(video: Tensor) -> NDArray[np.uint8]:
    """Video (..., 3, H, W), clamped to [0, 1], to uint8 frames (..., H, W, 3)."""
    levels = (video.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    frames: NDArray[np.uint8] = levels.movedim(-3, -1).contiguous().cpu().numpy()
    return frames


def pool_frames(frames_NCHW: Tensor, height: int) -> Tensor:
    """Average frames down by a whole factor to at least `height`; smaller frames stay as they are."""
    factor = max(1, min(frames_NCHW.shape[-2], frames_NCHW.shape[-1]) // height)
    return F.avg_pool2d(frames_NCHW, factor) if factor > 1 else frames_NCHW
