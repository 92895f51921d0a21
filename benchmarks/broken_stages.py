"""Ways to break a stage in training, for benchmarks: each is done to a stage once, at about a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from terrarium.train.stages import Stage

DEAD = -1000.0  # of a unit's bias: SiLU and its gradient are zero there
Break = Callable[[Stage, int, int], Stage]
"""Of a stage, the step at which to break it, and how many of its steps are still to be taken until then."""


def nothing(stage: Stage, _at: int, _left: int) -> Stage:
    """A healthy stage, for comparison."""
    return stage


def bad_batch(stage: Stage, at: int, _left: int) -> Stage:
    """The inputs of one batch are not finite, whenever it is drawn."""
    ill = stage.batches.batch(at)

    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        inputs = stage.to_inputs(drawn)
        same = all((a == b).all() for a, b in zip(vars(drawn).values(), vars(ill).values(), strict=True))
        return tuple(part * float("nan") if same and part.is_floating_point() else part for part in inputs)

    return replace(stage, to_inputs=to_inputs)


def broken_weights(stage: Stage, _at: int, left: int) -> Stage:
    """Once, half of the live weights are overwritten by noise: a spike that stays."""
    calls = {"left": left}

    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        calls["left"] -= 1
        if calls["left"] == 0:
            spoil(stage.model, every=2)
        return stage.to_inputs(drawn)

    return replace(stage, to_inputs=to_inputs)


@torch.no_grad()
def spoil(model: torch.nn.Module, every: int) -> None:
    """Overwrite every so manyth weight matrix by noise five times as large."""
    generator = torch.Generator().manual_seed(0)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    for parameter in matrices[::every]:
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        parameter.copy_(noise * 5 * parameter.std())


def dead_encoder(stage: Stage, _at: int, left: int) -> Stage:
    """Once, the encoder's last hidden units are pushed to where they pass nothing on, nor any gradient.

    Every change gets the same code from then on. (Weights of zero do not last: batch normalisation before the
    signs scales the smallest difference up, and the encoder is back within four steps.)
    """
    calls = {"left": left}

    @torch.no_grad()
    def to_inputs(drawn: Any) -> tuple[torch.Tensor, ...]:
        calls["left"] -= 1
        if calls["left"] == 0:
            biases = [part for name, part in stage.model.named_parameters() if _is_encoder_bias(name)]
            biases[-2].fill_(DEAD)
        return stage.to_inputs(drawn)

    return replace(stage, to_inputs=to_inputs)


def _is_encoder_bias(name: str) -> bool:
    return name.startswith("encoder") and name.endswith("bias")
