"""A small network trained on true actions: a ceiling for codes that were learnt without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from terrarium.data.clip import Clips
from terrarium.data.dataset import Episode
from terrarium.data.loader import ClipSampler
from terrarium.data.places import Place, chunks
from terrarium.evaluate.footage import actions_by_episode, first_actions
from terrarium.models.frames import pool_frames, to_video

BATCH = 64
WIDTH = 16
SIZE = 64  # frames are pooled to this height
LEARNING_RATE = 2e-3


class InverseModel(nn.Module):
    """From two neighbouring frames to logits of the true action between them.

    Args:
        actions: how many true actions there are.
    """

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_halving(6, WIDTH),
            *_halving(WIDTH, 2 * WIDTH),
            *_halving(2 * WIDTH, 2 * WIDTH),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * WIDTH, 128),
            nn.SiLU(),
            nn.Linear(128, actions),
        )

    def forward(self, video_N2CHW: Tensor) -> Tensor:
        """Pairs of frames (N, 2, 3, H, W) in [0, 1] to logits (N, actions)."""
        before_NCHW, after_NCHW = (pool_frames(video_N2CHW[:, i], SIZE) for i in range(2))
        # differences are small, so they are scaled to the size of the picture's values
        logits_NA: Tensor = self.layers(torch.cat([before_NCHW - 0.5, 4 * (after_NCHW - before_NCHW)], 1))
        return logits_NA


def supervised_accuracy(
    train: Sequence[Episode],
    held_out: Sequence[Place],
    n_actions: int,
    *,
    steps: int,
    seed: int,
    device: torch.device,
) -> float:
    """Train an inverse model on the training episodes' true actions and score it on held-out pairs.

    Args:
        train: episodes with actions; at least one has two frames.
        held_out: stretches of two frames.
        n_actions: how many true actions there are.
        steps: training steps.
        seed: decides weights and batches; the caller's random state is not touched.
        device: where to compute.

    Returns:
        The share of held-out pairs whose true action is named.
    """
    model = _train(train, n_actions, steps, seed, device).eval()
    with torch.inference_mode():
        named = [model(to_video(pairs, device)).argmax(1).cpu().numpy() for pairs in chunks(held_out)]
    return float((np.concatenate(named) == first_actions(held_out)).mean())


def _train(
    episodes: Sequence[Episode], n_actions: int, steps: int, seed: int, device: torch.device
) -> InverseModel:
    sampler = ClipSampler(episodes, 2, BATCH, seed, "inverse_model")
    actions_of = actions_by_episode(episodes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = InverseModel(n_actions).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for step in range(steps):
        clips = sampler.batch(step)
        true_N = torch.from_numpy(_actions(clips, actions_of)).to(device)
        loss = F.cross_entropy(model(to_video(clips.video_BTHWC, device)), true_N)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def _actions(clips: Clips, actions_of: dict[int, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The action on the first frame of each clip."""
    pairs = zip(clips.episode_B.tolist(), clips.start_B.tolist(), strict=True)
    return np.array([actions_of[index][start] for index, start in pairs], dtype=np.int64)


def _halving(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution that halves height and width."""
    return [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
