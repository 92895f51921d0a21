"""The optimizer and its learning rate."""

from __future__ import annotations

import torch
from torch import nn

from terrarium.config import StageConfig
from terrarium.errors import TrainingError


def make_optimizer(model: nn.Module, config: StageConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); matrices and kernels decay, vectors do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def learning_rate_at(step: int, config: StageConfig) -> float:
    """The learning rate of a step: linear warm-up, a plateau, linear decay to nearly zero.

    A pure function of the step: a resumed run has no schedule state that could bring an old rate back.
    """
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cooldown_steps = max(1, round(config.cooldown * config.steps))
    cooldown = min(1.0, (config.steps - step) / cooldown_steps)
    return config.learning_rate * warmup * max(cooldown, 0.01)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the learning rate of every group, and read back the one in effect.

    Raises:
        TrainingError: it is not the one that was set: something else sets rates too.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    effective = {float(group["lr"]) for group in optimizer.param_groups}
    if effective != {rate}:
        raise TrainingError(
            f"the learning rate in effect is {sorted(effective)}, and {rate} was asked for",
            "Find what else sets the optimizer's rates, then resume",
        )
    return rate
