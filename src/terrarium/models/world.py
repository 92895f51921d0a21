"""The three models together: a world that is given a few frames and then steps by latent actions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrarium.errors import DataError, UsageError
from terrarium.models.build import load_dynamics, load_latent_actions, load_tokenizer
from terrarium.models.device import choose_device
from terrarium.models.dynamics import Dynamics, Past
from terrarium.models.frames import to_frames, to_video
from terrarium.models.latent_actions import LatentActions
from terrarium.models.tokenizer import VideoTokenizer
from terrarium.run.folder import RunFolder

CHANGES_AT_ONCE = 256  # bounds memory for long episodes


class World:
    """A playable world. Make one with `World.load(run)`; `reset` it, then `step` it.

    Args:
        tokenizer: trained.
        latent_actions: trained, on the same footage.
        dynamics: trained, on the tokens and codes of these two.
        seed: decides the order in which tokens are decoded; equal seeds and actions give equal frames.
        frames_per_second: of the footage, for showing frames at the right speed.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        latent_actions: LatentActions,
        dynamics: Dynamics,
        *,
        seed: int = 0,
        frames_per_second: float | None = None,
    ) -> None:
        self._tokenizer, self._latent_actions, self._dynamics = tokenizer, latent_actions, dynamics
        self._device = next(dynamics.parameters()).device
        self._seed = seed
        self._generator = torch.Generator()
        self._past: Past | None = None
        self.frames_per_second = frames_per_second

    @classmethod
    def load(cls, run: str | Path, *, seed: int = 0, device: str = "auto") -> World:
        """The world of a run, from the newest valid checkpoint of each stage.

        Raises:
            RunError: there is no such run.
            CheckpointError: a stage has no valid checkpoint.
        """
        folder = RunFolder.open(Path(run))
        chosen = choose_device(device)
        rate = folder.facts.get("frames_per_second")
        return cls(
            load_tokenizer(folder).to(chosen),
            load_latent_actions(folder).to(chosen),
            load_dynamics(folder).to(chosen),
            seed=seed,
            frames_per_second=float(rate) if isinstance(rate, int | float) else None,
        )

    @property
    def actions(self) -> int:
        """How many actions there are; codes run from 0 to one less."""
        return self._latent_actions.codes

    @property
    def context_frames(self) -> int:
        """How many frames the world looks back. `reset` uses at most this many; one is enough."""
        return self._dynamics.config.context_frames

    @property
    def height(self) -> int:
        """Of a frame in pixels."""
        return self._tokenizer.height

    @property
    def width(self) -> int:
        """Of a frame in pixels."""
        return self._tokenizer.width

    def fork(self) -> World:
        """An independent world that shares the weights; it must be reset before it steps."""
        return World(
            self._tokenizer,
            self._latent_actions,
            self._dynamics,
            seed=self._seed,
            frames_per_second=self.frames_per_second,
        )

    @torch.inference_mode()
    def infer_actions(self, frames_THWC: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The code of every change from one frame to the next.

        Args:
            frames_THWC: uint8 frames of the world's size, T at least 2.

        Returns:
            T - 1 codes, int64; the one at t leads from frame t to t + 1.

        Raises:
            DataError: the frames are of another size or type, or fewer than 2.
        """
        self._check(frames_THWC)
        if len(frames_THWC) < 2:
            raise DataError("actions need at least two frames: a code is of a change")
        parts = [
            frames_THWC[start : start + CHANGES_AT_ONCE + 1]
            for start in range(0, len(frames_THWC) - 1, CHANGES_AT_ONCE)
        ]
        codes_T = [self._latent_actions.encode(self._to_video(part)[None])[1][0] for part in parts]
        codes: NDArray[np.int64] = torch.cat(codes_T).cpu().numpy()
        return codes

    @torch.inference_mode()
    def reset(self, frames_THWC: NDArray[np.uint8]) -> None:
        """Start from footage: its last `context_frames` frames become the past.

        Args:
            frames_THWC: uint8 frames of the world's size, T at least 1.

        Raises:
            DataError: the frames are of another size or type, or there are none.
        """
        # one frame more, because an action also led to the first frame of the context
        frames_THWC = frames_THWC[-self.context_frames - 1 :]
        video_TCHW = self._to_video(frames_THWC)
        unknown_1 = torch.tensor([self.actions], device=self._device)
        led_T = unknown_1
        if len(video_TCHW) > 1:
            led_T = torch.cat([unknown_1, self._latent_actions.encode(video_TCHW[None])[1][0]])
        _, digits_TPD = self._tokenizer.encode(video_TCHW)
        kept = self.context_frames
        self._past = self._dynamics.remember(digits_TPD[None, -kept:], led_T[None, -kept:])
        self._generator.manual_seed(self._seed)

    @torch.inference_mode()
    def step(self, code: int) -> NDArray[np.uint8]:
        """Take an action.

        Args:
            code: 0 to `actions` - 1.

        Returns:
            The next frame (H, W, 3), uint8.

        Raises:
            UsageError: there is no such code, or the world was not reset yet.
        """
        return to_frames(self._decode(self._step_tokens(code))[0])

    @torch.inference_mode()
    def step_tokens(self, code: int) -> None:
        """Take an action without decoding the frame, to measure what decoding costs."""
        self._step_tokens(code)

    def dream(
        self, frames_THWC: NDArray[np.uint8], context: int, codes: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint8]:
        """Reset to the first `context` frames of a clip and dream the rest, with the clip's own actions.

        Args:
            frames_THWC: the clip.
            context: how many frames the world is shown, at least 1.
            codes: other actions to take instead, one per dreamed frame.

        Returns:
            The dreamed frames (T - context, H, W, 3), uint8.
        """
        if codes is None:
            codes = self.infer_actions(frames_THWC)[context - 1 :]
        self.reset(frames_THWC[:context])
        return np.stack([self.step(int(code)) for code in codes])

    def _step_tokens(self, code: int) -> Tensor:
        """Digits (1, P, D) of the next frame, which becomes part of the past."""
        if self._past is None:
            raise UsageError("the world has no past yet", "Call reset(frames_THWC) before step(code).")
        if not 0 <= code < self.actions:
            raise UsageError(f"there is no action {code}", f"Codes run from 0 to {self.actions - 1}.")
        action_1 = torch.tensor([code], device=self._device)
        steps = self._dynamics.config.decoding_steps
        digits_1PD = self._dynamics.decode(self._past, action_1, self._generator, steps)
        self._past = self._dynamics.remember(digits_1PD[:, None], action_1[:, None], self._past)
        return digits_1PD

    def _decode(self, digits_1PD: Tensor) -> Tensor:
        return self._tokenizer.decode(self._tokenizer.quantizer.to_vectors(digits_1PD))

    def _to_video(self, frames_THWC: NDArray[np.uint8]) -> Tensor:
        """Checked frames to float (T, 3, H, W) in [0, 1]."""
        self._check(frames_THWC)
        return to_video(frames_THWC, self._device)

    def _check(self, frames_THWC: NDArray[np.uint8]) -> None:
        expected = (self.height, self.width, 3)
        if frames_THWC.ndim != 4 or frames_THWC.shape[1:] != expected or frames_THWC.dtype != np.uint8:
            raise DataError(
                f"frames are {frames_THWC.dtype} {frames_THWC.shape}, "
                f"not uint8 (T, {self.height}, {self.width}, 3)"
            )
        if not math.prod(frames_THWC.shape):
            raise DataError("there are no frames to start from")
