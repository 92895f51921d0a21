"""A batch whose rows are shared out among several processes.

Everything that a model draws at random or sums over a batch goes through here, so that n processes compute
what one would: each process draws the random numbers of the whole batch and uses those of its rows, and sums
over the batch are added up over processes. Outside of `sharing` a batch is whole, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Share:
    """Which rows of a batch are here.

    Attributes:
        rows: the numbers of those rows.
        total: how many rows the batch has.
        add_up: sums a tensor, without gradient, over processes; all get the same sum.
    """

    rows: range
    total: int
    add_up: Callable[[Tensor], Tensor]


_here: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """While open, batches given to models are shares of larger ones. All processes must do the same."""
    token = _here.set(share)
    try:
        yield
    finally:
        _here.reset(token)


def rand(shape: Sequence[int], device: torch.device) -> Tensor:
    """Uniform random numbers in [0, 1): those of our rows, out of a draw for the whole batch.

    Args:
        shape: the first dimension counts rows of the batch, or rows times something (such as frames).
        device: the device to draw on.
    """
    share = _here.get()
    if share is None:
        return torch.rand(tuple(shape), device=device)
    each = shape[0] // len(share.rows)
    whole = torch.rand((share.total * each, *shape[1:]), device=device)
    return whole[share.rows.start * each : share.rows.stop * each]


def add_up(x: Tensor) -> Tensor:
    """The sum over all shares of a batch, with gradient; `x` itself where the batch is whole."""
    share = _here.get()
    if share is None:
        return x
    added: Tensor = _AddUp.apply(x, share.add_up)  # type: ignore[no-untyped-call]
    return added


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all shares of a batch (Ioffe and Szegedy 2015, algorithm 1).

    It has no affine part. PyTorch's SyncBatchNorm does the same, on GPUs only.
    """

    def __init__(self, features: int, momentum: float) -> None:
        super().__init__(features, affine=False, momentum=momentum)

    def forward(self, x_NA: Tensor) -> Tensor:
        """Normalise features (N, A)."""
        if not self.training or _here.get() is None:
            return super().forward(x_NA)
        x_NA = x_NA.float()
        count = float(add_up(torch.tensor(float(len(x_NA)), device=x_NA.device)))
        mean_A = add_up(x_NA.sum(0)) / count
        variance_A = add_up(((x_NA - mean_A) ** 2).sum(0)) / count
        self._remember(mean_A.detach(), variance_A.detach() * count / (count - 1))
        return (x_NA - mean_A) / (variance_A + self.eps).sqrt()

    @torch.no_grad()
    def _remember(self, mean_A: Tensor, unbiased_A: Tensor) -> None:
        running = (self.running_mean, self.running_var, self.num_batches_tracked, self.momentum)
        running_mean, running_var, seen, momentum = running
        assert running_mean is not None  # noqa: S101 - for the type checker
        assert running_var is not None  # noqa: S101
        assert seen is not None  # noqa: S101
        running_mean.lerp_(mean_A, momentum or 0.0)
        running_var.lerp_(unbiased_A, momentum or 0.0)
        seen.add_(1)


class _AddUp(torch.autograd.Function):
    """A sum over processes; its gradient is the sum of the gradients that the processes have."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, add: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.add = add
        return add(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.add(gradient.contiguous().clone()), None
