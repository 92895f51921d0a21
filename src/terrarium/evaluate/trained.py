"""The three trained models of a run, working on uint8 frames of many clips at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrarium.models.build import load_dynamics, load_latent_actions, load_tokenizer
from terrarium.models.dynamics import Dynamics
from terrarium.models.frames import to_frames, to_video
from terrarium.models.latent_actions import LatentActions
from terrarium.models.tokenizer import VideoTokenizer
from terrarium.models.world import World
from terrarium.run.folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """Frozen models on one device.

    Attributes:
        tokenizer: turns frames into tokens and back.
        latent_actions: turns changes into codes.
        dynamics: predicts the next tokens from tokens and codes.
        device: where they are.
    """

    tokenizer: VideoTokenizer
    latent_actions: LatentActions
    dynamics: Dynamics
    device: torch.device

    @staticmethod
    def load(run: RunFolder, device: torch.device) -> Trained:
        """The averaged weights of the newest valid checkpoint of each stage.

        Raises:
            CheckpointError: a stage has none.
        """
        return Trained(
            load_tokenizer(run).to(device),
            load_latent_actions(run).to(device),
            load_dynamics(run).to(device),
            device,
        )

    @property
    def context_frames(self) -> int:
        """How many frames the dynamics looks back."""
        return self.dynamics.config.context_frames

    def world(self, seed: int) -> World:
        """The three models as a world, as they are played."""
        return World(self.tokenizer, self.latent_actions, self.dynamics, seed=seed)

    def to_video(self, frames_BTHWC: NDArray[np.uint8]) -> Tensor:
        """Clips to float (B, T, 3, H, W) in [0, 1] on the device."""
        return to_video(frames_BTHWC, self.device)

    @torch.inference_mode()
    def reconstruct(self, frames_NHWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Frames through tokens and back (N, H, W, 3), and the tokens (N, P)."""
        _, digits_NPD = self.tokenizer.encode(self.to_video(frames_NHWC[:, None])[:, 0])
        tokens_NP = self.tokenizer.quantizer.to_tokens(digits_NPD)
        return self.paint(digits_NPD), tokens_NP.cpu().numpy()

    @torch.inference_mode()
    def infer_actions(self, frames_BTHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The codes (B, T - 1) of the changes; the one at t leads from frame t to t + 1."""
        codes_BT: NDArray[np.int64] = self.latent_actions.encode(self.to_video(frames_BTHWC))[1].cpu().numpy()
        return codes_BT

    @torch.inference_mode()
    def dream(
        self,
        context_BTHWC: NDArray[np.uint8],
        led_BT: NDArray[np.int64],
        taken_BT: NDArray[np.int64],
        seed: int,
    ) -> NDArray[np.uint8]:
        """The last frame of roll-outs, computed as in `World.dream` but for many clips at once.

        Args:
            context_BTHWC: the frames shown.
            led_BT: codes between them, one fewer.
            taken_BT: codes of the actions to take, one per dreamed frame.
            seed: decides the order in which tokens are decoded.

        Returns:
            The frame after the last action (B, H, W, 3).
        """
        model, generator = self.dynamics, torch.Generator().manual_seed(seed)
        actions_BT = torch.from_numpy(np.concatenate([led_BT, taken_BT], 1)).to(self.device)
        unknown_B1 = torch.full_like(actions_BT[:, :1], model.actions)
        shown = context_BTHWC.shape[1]
        _, digits = self.tokenizer.encode(self.to_video(context_BTHWC).flatten(0, 1))
        digits_BTPD = digits.unflatten(0, (-1, shown))
        past = model.remember(digits_BTPD, torch.cat([unknown_B1, actions_BT[:, : shown - 1]], 1))
        for code_B in actions_BT[:, shown - 1 :].unbind(1):
            digits_BPD = model.decode(past, code_B, generator, model.config.decoding_steps)
            past = model.remember(digits_BPD[:, None], code_B[:, None], past)
        return self.paint(digits_BPD)

    def paint(self, digits_NPD: Tensor) -> NDArray[np.uint8]:
        """Tokens, as digits, to frames (N, H, W, 3)."""
        return to_frames(self.tokenizer.decode(self.tokenizer.quantizer.to_vectors(digits_NPD)))
