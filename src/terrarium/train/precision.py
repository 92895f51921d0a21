"""The precision that a stage computes in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from terrarium.config import Config


def autocast(device: torch.device, config: Config) -> AbstractContextManager[object]:
    """bfloat16 if asked for, or by default on a GPU; otherwise float32."""
    if config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
