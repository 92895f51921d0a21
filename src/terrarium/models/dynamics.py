"""The dynamics: from the tokens of past frames and an action to the tokens of the next frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terrarium.config import DynamicsConfig
from terrarium.models.blocks import LayerNorm, SpaceBlock, TimeAttention
from terrarium.models.quantizer import FiniteScalarQuantizer
from terrarium.models.share import rand
from terrarium.models.step_result import StepResult


@dataclass(frozen=True)
class Past:
    """What the trunk remembers of the frames so far: all it takes to go on, independent of the next action.

    Attributes:
        keys_values: per trunk layer (2, B, P, heads, T', E / heads), T' at most context_frames - 1.
        present_BPE: the trunk's output at the newest frame.
    """

    keys_values: list[Tensor]
    present_BPE: Tensor


class Dynamics(nn.Module):
    """Predicts masked tokens of the next frame (MaskGIT, Chang et al. 2022; Genie, Bruce et al. 2024).

    A trunk, causal over time, reads past frames; a small head sees the trunk's output, the action, and what
    is already known of the next frame. The trunk never sees a mask. So at play its cached past is exactly
    what it was trained on, it runs once per frame however many decoding steps the head takes, and it can run
    before the player has chosen.

    The action modulates every block of the head, so it can't be averaged away, and the trunk gets the actions
    that led to the frames it reads. Tokens go in as quantizer vectors and come out as one distribution per
    dimension, so codes that are near each other are near for the model too.

    Args:
        config: sizes.
        levels: of the tokenizer's quantizer, D of them.
        grid: rows and columns of tokens; P is their product.
        actions: number of action codes; one more stands for "unknown".
    """

    def __init__(
        self, config: DynamicsConfig, levels: tuple[int, ...], grid: tuple[int, int], actions: int
    ) -> None:
        super().__init__()
        self.config, self.actions, self.places = config, actions, grid[0] * grid[1]
        self.quantizer = FiniteScalarQuantizer(levels)
        width = config.width
        self.token_in = nn.Linear(len(levels), width)
        self.place = nn.Parameter(torch.randn(self.places, width) * 0.02)
        self.past_action = nn.Embedding(actions + 1, width)
        self.trunk_space = nn.ModuleList(
            SpaceBlock(width, config.heads, grid) for _ in range(config.trunk_layers)
        )
        self.trunk_time = nn.ModuleList(
            TimeAttention(width, config.heads, config.context_frames) for _ in range(config.trunk_layers)
        )
        self.known_in = nn.Linear(2 * len(levels), width)
        self.action = nn.Embedding(actions + 1, width)
        self.head = nn.ModuleList(
            SpaceBlock(width, config.heads, grid, condition=width) for _ in range(config.head_layers)
        )
        self.norm = LayerNorm(width)
        self.logits = nn.Linear(width, sum(levels))

    @property
    def chance_level(self) -> float:
        """The loss of guessing, in nats per token: the logarithm of the number of codes."""
        return math.log(self.quantizer.codes)

    def remember(self, digits_BTPD: Tensor, actions_BT: Tensor, past: Past | None = None) -> Past:
        """Read T more frames into the past.

        Args:
            digits_BTPD: their tokens, as digits.
            actions_BT: the action that led *to* each frame; `self.actions` if unknown.
            past: the frames read before.
        """
        hidden_BTPE, keys_values = self._trunk(digits_BTPD, actions_BT, past)
        return Past(keys_values, hidden_BTPE[:, -1])

    @torch.no_grad()
    def decode(self, past: Past, action_B: Tensor, generator: torch.Generator, steps: int) -> Tensor:
        """Digits (B, P, D) of the next frame, in a few parallel steps.

        Every step predicts all unknown tokens and keeps a random share of them, by the cosine schedule;
        the last step keeps the rest. Places are random, because keeping the most certain tokens first favours
        what stands still. Each digit is the most likely one: sampling would add noise that later frames
        inherit.

        Args:
            past: from `remember`.
            action_B: the action that leads to the next frame.
            generator: draws the places, on the CPU.
            steps: how many steps.
        """
        batch = action_B.shape[0]
        dimensions = len(self.quantizer.levels)
        digits_BPD = torch.zeros(batch, self.places, dimensions, dtype=torch.long, device=action_B.device)
        known_BP = torch.zeros(batch, self.places, dtype=torch.bool, device=action_B.device)
        rank_BP = (
            torch.rand(batch, self.places, generator=generator).argsort(1).argsort(1).to(action_B.device)
        )
        for step in range(1, steps + 1):
            logits_BPL = self._head(past.present_BPE, action_B, digits_BPD, known_BP)
            best_BPD = torch.stack([part.argmax(-1) for part in self._split(logits_BPL)], -1)
            digits_BPD = torch.where(known_BP[..., None], digits_BPD, best_BPD)
            known_BP = rank_BP < round(self.places * (1 - math.cos(math.pi / 2 * step / steps)))
        return digits_BPD

    def forward(self, digits_BTPD: Tensor, actions_BT: Tensor) -> StepResult:
        """Predict frames 1 to T - 1 of clips, each from the clean frames before it and its action.

        Args:
            digits_BTPD: tokens of T frames, int64.
            actions_BT: T - 1 codes; the one at t leads from frame t to t + 1.

        Returns:
            The loss in nats per token over masked tokens, weighted towards those that change.
        """
        unknown_B1 = torch.full_like(actions_BT[:, :1], self.actions)
        past_actions_BT = torch.cat([unknown_B1, actions_BT[:, :-1]], 1)
        clean_BTPD, target_BTPD = digits_BTPD[:, :-1], digits_BTPD[:, 1:]
        hidden_BTPE, _ = self._trunk(self._corrupt(clean_BTPD), past_actions_BT, None)
        known_NP = self._draw_known(target_BTPD.shape[0] * target_BTPD.shape[1], target_BTPD.device)
        target_NPD = target_BTPD.flatten(0, 1)
        logits_NPL = self._head(hidden_BTPE.flatten(0, 1), actions_BT.flatten(), target_NPD, known_NP)
        return self._result(logits_NPL, target_NPD, clean_BTPD.flatten(0, 1), known_NP)

    def _trunk(
        self, digits_BTPD: Tensor, actions_BT: Tensor, past: Past | None
    ) -> tuple[Tensor, list[Tensor]]:
        vectors_BTPD = self.quantizer.to_vectors(digits_BTPD)
        hidden_BTPE = self.token_in(vectors_BTPD) + self.place + self.past_action(actions_BT)[:, :, None]
        keys_values = []
        for index, (space, time) in enumerate(zip(self.trunk_space, self.trunk_time, strict=True)):
            hidden_BTPE = space(hidden_BTPE.flatten(0, 1)).view_as(hidden_BTPE)
            hidden_BTPE, kept = time(hidden_BTPE, past.keys_values[index] if past else None)
            keys_values.append(kept)
        return hidden_BTPE, keys_values

    def _head(self, present_NPE: Tensor, action_N: Tensor, digits_NPD: Tensor, known_NP: Tensor) -> Tensor:
        """Logits (N, P, L) from the trunk's output, the action, and the digits that are known."""
        known_NP1 = known_NP[..., None].float()
        vectors_NPD = self.quantizer.to_vectors(digits_NPD) * known_NP1
        hidden_NPE = present_NPE + self.known_in(
            torch.cat([vectors_NPD, known_NP1.expand_as(vectors_NPD)], -1)
        )
        condition_NE = self.action(action_N)
        for block in self.head:
            hidden_NPE = block(hidden_NPE, condition_NE)
        logits_NPL: Tensor = self.logits(self.norm(hidden_NPE))
        return logits_NPL

    def _split(self, logits_NPL: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = logits_NPL.split(self.quantizer.levels, -1)
        return parts

    def _corrupt(self, digits_BTPD: Tensor) -> Tensor:
        """Replace a random share of tokens, so that roll-outs can survive their own errors.

        The share is drawn for each clip, up to the configured one.
        """
        if not (self.training and self.config.corruption):
            return digits_BTPD
        batch, device = digits_BTPD.shape[0], digits_BTPD.device
        share_B11 = rand((batch, 1, 1), device) * self.config.corruption
        replaced_BTP = rand(digits_BTPD.shape[:-1], device) < share_B11
        random_BTPD = (rand(digits_BTPD.shape, device) * self.quantizer.counts).long()
        return torch.where(replaced_BTP[..., None], random_BTPD, digits_BTPD)

    def _draw_known(self, frames: int, device: torch.device) -> Tensor:
        """Which tokens are given (N, P): none in `whole_mask` of the frames, else a cosine-drawn share."""
        share_N1 = 1 - torch.cos(rand((frames, 1), device) * math.pi / 2)
        share_N1 = torch.where(rand((frames, 1), device) < self.config.whole_mask, 0.0, share_N1)
        return rand((frames, self.places), device) < share_N1

    def _result(
        self, logits_NPL: Tensor, target_NPD: Tensor, before_NPD: Tensor, known_NP: Tensor
    ) -> StepResult:
        parts = self._split(logits_NPL)
        nats_NP = torch.stack(
            [
                F.cross_entropy(part.transpose(1, 2).float(), target_NPD[..., dimension], reduction="none")
                for dimension, part in enumerate(parts)
            ]
        ).sum(0)
        changed_NP = (target_NPD != before_NPD).any(-1)
        masked_NP = (~known_NP).float()
        weight_NP = masked_NP * (1 + (self.config.changed_weight - 1) * changed_NP)
        loss = (nats_NP * weight_NP).sum() / weight_NP.sum().clamp(min=1)
        with torch.no_grad():
            best_NPD = torch.stack([part.argmax(-1) for part in parts], -1)
            right_NP = (best_NPD == target_NPD).all(-1)
            moving_NP = masked_NP * changed_NP
            measures = {
                "accuracy": (right_NP * masked_NP).sum() / masked_NP.sum().clamp(min=1),
                "changed_accuracy": (right_NP * moving_NP).sum() / moving_NP.sum().clamp(min=1),
                "nats_per_token": (nats_NP * masked_NP).sum() / masked_NP.sum().clamp(min=1),
            }
        weights = {name: masked_NP.sum() for name in measures} | {"changed_accuracy": moving_NP.sum()}
        return StepResult(loss, measures, weight_NP.sum(), weights)
