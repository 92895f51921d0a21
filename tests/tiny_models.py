"""Small models whose every weight matters: fresh ones begin with zeros that hide what they look at."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from terrarium.models.build import build_dynamics, build_latent_actions, build_tokenizer
from terrarium.models.dynamics import Dynamics
from terrarium.models.world import World
from tiny_world import tiny_config

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def stirred(model: Model, seed: int = 0, scale: float = 0.3) -> Model:
    """The model with noise on every parameter, frozen and ready for use."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)
    return model.eval().requires_grad_(False)


def random_video(clips: int, frames: int, size: tuple[int, int] = (64, 64), seed: int = 0) -> Tensor:
    """Noise (B, T, 3, H, W) in [0, 1]."""
    return torch.rand(clips, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def random_digits(model: Dynamics, clips: int, frames: int, seed: int = 0) -> Tensor:
    """Tokens (B, T, P, D) that the dynamics can read."""
    shape = (clips, frames, model.places, len(model.quantizer.levels))
    unit = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (unit * model.quantizer.counts).long()


def random_codes(model: Dynamics, clips: int, frames: int, seed: int = 0) -> Tensor:
    """Actions (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.actions, (clips, frames), generator=generator)


def tiny_dynamics(*assignments: str, size: tuple[int, int] = (64, 64)) -> Dynamics:
    """Stirred dynamics for frames of a size in pixels."""
    torch.manual_seed(0)
    return stirred(build_dynamics(tiny_config(*assignments), *size))


def tiny_world(size: tuple[int, int] = (64, 64), seed: int = 0) -> World:
    """A world of stirred models, which dreams nonsense, but by all the rules."""
    torch.manual_seed(0)
    config = tiny_config()
    return World(
        stirred(build_tokenizer(config, *size)),
        stirred(build_latent_actions(config)),
        stirred(build_dynamics(config, *size)),
        seed=seed,
        frames_per_second=10.0,
    )
