"""Turning real vectors into codes, with straight-through gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from terrarium.models.share import BatchNorm, rand


class FiniteScalarQuantizer(nn.Module):
    """Rounds each dimension of a vector to one of a few levels (Mentzer et al. 2023, section 3).

    There is no codebook that could collapse, and no extra loss.

    Args:
        levels: number of levels of each dimension; their product is the number of codes.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.codes = math.prod(self.levels)
        counts = torch.tensor(self.levels)
        self.register_buffer("counts", counts, persistent=False)
        strides = torch.cumprod(torch.cat([torch.ones(1, dtype=torch.long), counts[:-1]]), 0)
        self.register_buffer("strides", strides, persistent=False)
        self.counts: Tensor
        self.strides: Tensor

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize latents of shape (..., D).

        Returns:
            vectors (..., D) in [-1, 1], with straight-through gradients; digits (..., D), int64 from 0 to
            levels - 1.
        """
        last = self.counts - 1
        unit = (torch.tanh(latents) + 1) / 2
        digits = torch.round(unit * last)
        vectors = unit + (digits / last - unit).detach()
        return vectors * 2 - 1, digits.long()

    def to_vectors(self, digits: Tensor) -> Tensor:
        """Digits (..., D) to vectors (..., D) in [-1, 1]."""
        return digits / (self.counts - 1) * 2 - 1

    def to_tokens(self, digits: Tensor) -> Tensor:
        """Digits (..., D) to one token each (...), int64 from 0 to codes - 1."""
        return (digits * self.strides).sum(-1)

    def to_digits(self, tokens: Tensor) -> Tensor:
        """Tokens (...) to digits (..., D)."""
        return tokens[..., None] // self.strides % self.counts


class BinaryQuantizer(nn.Module):
    """The signs of batch-normalised features, as a code of a few bits.

    Normalising over the batch before taking the sign keeps each bit set about half of the time, so no bit can
    die: plain signs of tanh collapse to one code within seconds (docs/log.md). In evaluation the running
    statistics are used.

    In training a random share of the samples is not rounded. A soft feature carries the size of a movement as
    well as its sign, so plain gradients find the direction; rounded features alone learn how much moves, but
    not where to.

    Args:
        bits: A, features per code; there are 2 ** A codes.
        soft_share: share of the training samples that stay soft, 0 to 1.
    """

    def __init__(self, bits: int, soft_share: float = 0.0) -> None:
        super().__init__()
        self.bits, self.soft_share = bits, soft_share
        self.norm = BatchNorm(bits, momentum=0.05)
        self.register_buffer("powers", 2 ** torch.arange(bits), persistent=False)
        self.powers: Tensor

    def forward(self, features_NA: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize features (N, A).

        Returns:
            signs (N, A), -1 or 1 (soft ones in between), with the gradient of tanh; codes (N), int64 from 0
            to 2 ** A - 1.
        """
        soft_NA = torch.tanh(self.norm(features_NA))
        hard_NA = torch.where(soft_NA >= 0, 1.0, -1.0)
        codes_N = ((hard_NA > 0) * self.powers).sum(-1)
        signs_NA = soft_NA + (hard_NA - soft_NA).detach()
        if self.training and self.soft_share:
            stays_N1 = rand((len(soft_NA), 1), soft_NA.device) < self.soft_share
            signs_NA = torch.where(stays_N1, soft_NA, signs_NA)
        return signs_NA, codes_N

    def to_signs(self, codes: Tensor) -> Tensor:
        """Codes (...) to signs (..., A)."""
        return (codes[..., None] // self.powers % 2) * 2.0 - 1.0
