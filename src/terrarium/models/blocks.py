"""The parts that the models are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """A residual 3x3 convolution pair over (N, C, H, W); starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(_bias(self.outer))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        hidden_NCHW = F.silu(self.inner(F.silu(self.norm(x_NCHW))))
        out_NCHW: Tensor = x_NCHW + self.outer(hidden_NCHW)
        return out_NCHW


class ConditionedConv(nn.Module):
    """A 3x3 convolution whose normalised output a condition scales and shifts (FiLM, Perez et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(8, outputs)
        self.modulation = nn.Linear(condition, 2 * outputs)

    def forward(self, x_NCHW: Tensor, condition_NE: Tensor) -> Tensor:
        scale_NC11, shift_NC11 = self.modulation(condition_NE)[:, :, None, None].chunk(2, 1)
        return F.silu(self.norm(self.conv(x_NCHW)) * (1 + scale_NC11) + shift_NC11)


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None  # noqa: S101 - for the type checker: these layers are made with one
    return layer.bias


class LayerNorm(nn.LayerNorm):
    """Layer norm without a bias: one kernel on the CPU, where PyTorch's RMSNorm is five (docs/log.md)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, bias=False)


class SpaceBlock(nn.Module):
    """Mixes the tokens of one frame: a depthwise convolution, attention, and an MLP, each a residual.

    Motion is local, which attention takes long to learn; one 3x3 depthwise convolution over the token grid
    gains more than a layer of attention (docs/log.md). The condition modulates all three (adaptive
    layer norm, Peebles and Xie 2022, section 3.2); output projections start at zero.

    Args:
        width: E.
        heads: of attention.
        grid: rows and columns of tokens.
        condition: width of the condition, 0 for none.
    """

    def __init__(self, width: int, heads: int, grid: tuple[int, int], condition: int = 0) -> None:
        super().__init__()
        self.heads, self.grid = heads, grid
        self.norms = nn.ModuleList(LayerNorm(width) for _ in range(3))
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv_out = _zero_linear(width, width)
        self.attention = SelfAttention(width, heads)
        self.mlp_in = nn.Linear(width, 2 * width)
        self.mlp_out = _zero_linear(2 * width, width)
        self.modulation = _zero_linear(condition, 6 * width) if condition else None

    def forward(self, x_NPE: Tensor, condition_NE: Tensor | None = None) -> Tensor:
        parts = self._modulations(condition_NE)
        x_NPE = x_NPE + self.conv_out(F.silu(self._convolve(parts[0](self.norms[0](x_NPE)))))
        x_NPE = x_NPE + self.attention(parts[1](self.norms[1](x_NPE)))
        hidden = F.silu(self.mlp_in(parts[2](self.norms[2](x_NPE))))
        out_NPE: Tensor = x_NPE + self.mlp_out(hidden)
        return out_NPE

    def _convolve(self, x_NPE: Tensor) -> Tensor:
        grid_NEHW = x_NPE.transpose(1, 2).unflatten(2, self.grid)
        out_NEP: Tensor = self.conv(grid_NEHW).flatten(2)
        return out_NEP.transpose(1, 2)

    def _modulations(self, condition_NE: Tensor | None) -> list[_Modulation]:
        if self.modulation is None or condition_NE is None:
            return [_Modulation(None, None)] * 3
        scale_and_shift = self.modulation(F.silu(condition_NE))[:, None].chunk(6, -1)
        return [_Modulation(scale_and_shift[2 * i], scale_and_shift[2 * i + 1]) for i in range(3)]


class _Modulation:
    """x * (1 + scale) + shift, or x itself without a condition."""

    def __init__(self, scale_N1E: Tensor | None, shift_N1E: Tensor | None) -> None:
        self.scale_N1E, self.shift_N1E = scale_N1E, shift_N1E

    def __call__(self, x_NPE: Tensor) -> Tensor:
        if self.scale_N1E is None or self.shift_N1E is None:
            return x_NPE
        return x_NPE * (1 + self.scale_N1E) + self.shift_N1E


class SelfAttention(nn.Module):
    """Attention among all tokens of a frame, with normalised queries and keys (Henry et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = LayerNorm(width // heads)
        self.key_norm = LayerNorm(width // heads)
        self.out = _zero_linear(width, width)

    def forward(self, x_NPE: Tensor) -> Tensor:
        q, k, v = self.qkv(x_NPE).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(self.query_norm(q), self.key_norm(k), v)
        out_NPE: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out_NPE


class TimeAttention(nn.Module):
    """Causal attention over the last frames, each token looking back at its own place, as a residual.

    A learnt bias per distance in time tells frames apart, so a cache needs no absolute positions.

    Args:
        width: E.
        heads: of attention.
        reach: how many frames a token sees, its own included.
    """

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm = LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm = LayerNorm(width // heads)
        self.key_norm = LayerNorm(width // heads)
        self.out = _zero_linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, reach))

    def forward(self, x_BTPE: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix over time.

        Args:
            x_BTPE: T new frames.
            past: keys and values of earlier frames (2, B, P, heads, T', E / heads), or None.

        Returns:
            The new frames (B, T, P, E), and keys and values of at most the last `reach - 1` frames, the new
            ones included.
        """
        qkv = self.qkv(self.norm(x_BTPE)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(3, 0, 2, 4, 1, 5)  # each B, P, heads, T, E / heads
        keys_values = torch.stack([self.key_norm(k), v])
        if past is not None:
            keys_values = torch.cat([past, keys_values], dim=-2)
        q, k, v = self.query_norm(q), keys_values[0], keys_values[1]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(q.shape[-2], k.shape[-2]))
        out_BTPE: Tensor = x_BTPE + self.out(mixed.permute(0, 3, 1, 2, 4).flatten(3))
        kept = min(self.reach - 1, keys_values.shape[-2])
        return out_BTPE, keys_values[..., keys_values.shape[-2] - kept :, :]

    def _mask(self, queries: int, keys: int) -> Tensor:
        """What is added to the scores (heads, queries, keys): the bias of the distance, -inf beyond reach."""
        places = torch.arange(keys, device=self.bias.device)
        distance = places[keys - queries :, None] - places[None]
        seen = (distance >= 0) & (distance < self.reach)
        biases = self.bias[:, distance.clamp(0, self.reach - 1)]
        return biases.masked_fill(~seen, float("-inf"))


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(_bias(layer))
    return layer
