"""The three stages, as data for the one loop: a model, its batches, and how to draw it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from terrarium.config import Config, StageConfig
from terrarium.data.clip import Clips
from terrarium.data.dataset import Dataset, Episode
from terrarium.data.loader import ALL, ClipSampler, Rows, windows
from terrarium.data.places import mean_frame
from terrarium.data.tokens import TokenClips, TokenSampler, TokenStore
from terrarium.errors import DataError
from terrarium.models.build import build_dynamics, build_latent_actions, build_tokenizer
from terrarium.models.dynamics import Dynamics
from terrarium.models.frames import to_frames, to_video
from terrarium.models.latent_actions import LatentActions, likelihood_loss
from terrarium.models.tokenizer import VideoTokenizer
from terrarium.models.world import World
from terrarium.run.folder import STAGES
from terrarium.train.pictures import Picture
from terrarium.train.state import seed_step

PICTURE_CLIPS = 4
PICTURE_FRAMES = 8
ENCODE_FRAMES = 256  # at once, while footage is tokenized


class StageBatches(Protocol):
    """Makes the batch of a step, and names it."""

    def batch(self, step: int, rows: Rows = ALL) -> Any:
        """The batch of a step, always the same one; or only these rows of it."""
        ...

    def identity(self, step: int) -> str:
        """Which footage the batch of a step is cut from, for error messages."""
        ...


@dataclass(frozen=True)
class Stage:
    """All that the loop needs to know about a stage.

    Attributes:
        name: one of `terrarium.run.folder.STAGES`.
        model: called with the inputs, it returns a StepResult.
        config: the stage's configuration.
        batches: makes the batch of each step.
        to_inputs: turns a batch into the model's inputs, on its device.
        draw: draws what the averaged model makes of held-out clips.
        loss_unit: unit of the history's `loss`.
        chance_level: the loss of a model that knows nothing, in the same unit.
    """

    name: str
    model: nn.Module
    config: StageConfig
    batches: StageBatches
    to_inputs: Callable[[Any], tuple[Tensor, ...]]
    draw: Callable[[nn.Module], Picture]
    loss_unit: str
    chance_level: float


def tokenizer_stage(config: Config, dataset: Dataset, device: torch.device) -> Stage:
    """The stage that turns frames into tokens and back. At chance it paints the mean frame."""
    name, stage = "video_tokenizer", config.video_tokenizer
    clips = ClipSampler(dataset.train, stage.clip_frames, stage.batch_size, config.seed, name)
    probe_BTHWC = probe_clips(dataset.held_out, PICTURE_FRAMES)
    model = _seeded(config, name, lambda: build_tokenizer(config, dataset.height, dataset.width)).to(device)
    return Stage(
        name,
        model,
        stage,
        clips,
        functools.partial(_video_inputs, device),
        functools.partial(_draw_tokenizer, probe_BTHWC, device),
        "squared error of pixels in 0..1, moving ones weighted",
        mean_frame_error(model, dataset, clips, device),
    )


def latent_actions_stage(config: Config, dataset: Dataset, device: torch.device) -> Stage:
    """The stage that turns pairs of frames into codes. At chance it copies the last frame."""
    name, stage = "latent_actions", config.latent_actions
    clips = ClipSampler(dataset.train, stage.clip_frames, stage.batch_size, config.seed, name)
    probe_BTHWC = probe_clips(dataset.held_out, PICTURE_FRAMES + stage.past_frames)
    model = _seeded(config, name, lambda: build_latent_actions(config)).to(device)
    return Stage(
        name,
        model,
        stage,
        clips,
        functools.partial(_video_inputs, device),
        functools.partial(_draw_latent_actions, probe_BTHWC, device),
        "negative log-likelihood of a pooled pixel in nats, less a constant, moving ones weighted",
        copy_last_error(model, clips, device),
    )


def dynamics_stage(
    config: Config,
    dataset: Dataset,
    tokenizer: VideoTokenizer,
    actions: LatentActions,
    store: TokenStore,
    device: torch.device,
) -> Stage:
    """The stage that predicts the next tokens from tokens and actions. At chance it guesses the code."""
    name, stage = "dynamics", config.dynamics
    clips = ClipSampler(dataset.train, stage.clip_frames, stage.batch_size, config.seed, name)
    longest = stage.context_frames + PICTURE_FRAMES
    probe_BTHWC = probe_clips(dataset.held_out, longest)
    model = _seeded(config, name, lambda: build_dynamics(config, dataset.height, dataset.width)).to(device)
    return Stage(
        name,
        model,
        stage,
        TokenSampler(store, clips, dataset.train),
        functools.partial(_token_inputs, tokenizer, device),
        functools.partial(_draw_dynamics, probe_BTHWC, tokenizer, actions, config),
        "nats per token, changed ones weighted",
        model.chance_level,
    )


def refuse_short_footage(dataset: Dataset, config: Config) -> None:
    """Refuse footage that some stage can't use, before time goes into the stages before it.

    Raises:
        DataError: no episode to train on is as long as a stage's clips, or none held out is long enough to
            be pictured and scored.
    """
    for name in STAGES:
        ClipSampler(dataset.train, getattr(config, name).clip_frames, 1, config.seed, name)
    needed = config.latent_actions.past_frames + 2  # the past, and one change to predict
    longest = max(len(episode) for episode in dataset.held_out)
    if longest < needed:
        raise DataError(
            f"{needed} held-out frames in a row are needed, but in {dataset.path} the longest episode "
            f"that is held out has {longest}",
            "Use longer footage.",
        )


def encode_episode(
    tokenizer: VideoTokenizer, actions: LatentActions, device: torch.device, frames_THWC: NDArray[np.uint8]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Tokens (T, P) and T - 1 action codes of an episode, for the token store."""
    tokens, codes = [], []
    with torch.inference_mode():
        for start in range(0, len(frames_THWC), ENCODE_FRAMES):
            # one frame more than is tokenized, for the action that leads into the next block
            video_1TCHW = to_video(frames_THWC[None, start : start + ENCODE_FRAMES + 1], device)
            _, digits_TPD = tokenizer.encode(video_1TCHW[0, :ENCODE_FRAMES])
            tokens.append(tokenizer.quantizer.to_tokens(digits_TPD).cpu().numpy().astype(np.uint16))
            if video_1TCHW.shape[1] > 1:
                codes.append(actions.encode(video_1TCHW)[1][0].cpu().numpy().astype(np.uint16))
    return np.concatenate(tokens), np.concatenate(codes or [np.zeros(0, np.uint16)])


def probe_clips(episodes: Sequence[Episode], frames: int) -> NDArray[np.uint8]:
    """A few held-out clips (B, T, H, W, 3), the same every time; shorter ones if no episode is that long."""
    frames = min(frames, max(len(episode) for episode in episodes))
    places = list(windows(episodes, frames, frames))
    chosen = [places[i * len(places) // PICTURE_CLIPS] for i in range(PICTURE_CLIPS)]
    return np.stack([episode.frames_THWC[start : start + frames] for episode, start in chosen])


def mean_frame_error(
    model: VideoTokenizer, dataset: Dataset, clips: ClipSampler, device: torch.device
) -> float:
    """The loss of painting the training footage's mean frame, over the batch of step 0."""
    mean_CHW = to_video(mean_frame(dataset.train), device)
    video_BTCHW = to_video(clips.batch(0).video_BTHWC, device)
    error_NCHW = (video_BTCHW.flatten(0, 1) - mean_CHW) ** 2
    return float((error_NCHW * model.pixel_weight(video_BTCHW)).mean())


def copy_last_error(model: LatentActions, clips: ClipSampler, device: torch.device) -> float:
    """The loss of copying the last frame with the variance that suits it best, over the batch of step 0."""
    small = model.pool(to_video(clips.batch(0).video_BTHWC, device))
    last = small[:, model.config.past_frames : -1]
    variance = ((last - small[:, -last.shape[1] :]) ** 2).mean()
    return float(likelihood_loss(small, last, variance.log().expand_as(last[:, :, :1])).mean())


Model = TypeVar("Model", bound=nn.Module)


def _seeded(config: Config, name: str, build: Callable[[], Model]) -> Model:
    seed_step(config.seed, f"{name}/weights", 0)
    return build()


def _video_inputs(device: torch.device, batch: Clips) -> tuple[Tensor, ...]:
    return (to_video(batch.video_BTHWC, device),)


def _token_inputs(tokenizer: VideoTokenizer, device: torch.device, batch: TokenClips) -> tuple[Tensor, ...]:
    tokens_BTP = torch.from_numpy(batch.tokens_BTP).to(device)
    return tokenizer.quantizer.to_digits(tokens_BTP), torch.from_numpy(batch.actions_BT).to(device)


@torch.inference_mode()
def _draw_tokenizer(probe_BTHWC: NDArray[np.uint8], device: torch.device, model: nn.Module) -> Picture:
    assert isinstance(model, VideoTokenizer)  # noqa: S101 - for the type checker
    video_BTCHW = to_video(probe_BTHWC, device)
    vectors_NPD, _ = model.encode(video_BTCHW.flatten(0, 1))
    painted = model.decode(vectors_NPD).unflatten(0, video_BTCHW.shape[:2])
    columns = [f"frame {t}" for t in range(video_BTCHW.shape[1])]
    return Picture("video_tokenizer_recon", probe_BTHWC, to_frames(painted), columns)


@torch.inference_mode()
def _draw_latent_actions(probe_BTHWC: NDArray[np.uint8], device: torch.device, model: nn.Module) -> Picture:
    assert isinstance(model, LatentActions)  # noqa: S101 - for the type checker
    video_BTCHW = to_video(probe_BTHWC, device)
    signs_BTA, _ = model.encode(video_BTCHW)
    predicted = model.predict(video_BTCHW, signs_BTA)
    truth = model.pool(video_BTCHW)[:, -predicted.shape[1] :]
    columns = [f"frame {t + 1 + model.config.past_frames}" for t in range(predicted.shape[1])]
    return Picture("reconstructions_latent_actions", to_frames(truth), to_frames(predicted), columns)


def _draw_dynamics(
    probe_BTHWC: NDArray[np.uint8],
    tokenizer: VideoTokenizer,
    actions: LatentActions,
    config: Config,
    model: nn.Module,
) -> Picture:
    """Roll-outs: the model gets the context and the actions, and dreams the rest."""
    assert isinstance(model, Dynamics)  # noqa: S101 - for the type checker
    world = World(tokenizer, actions, model, seed=config.seed)
    context = max(1, min(world.context_frames, probe_BTHWC.shape[1] - 1))
    dreamed = np.stack([world.dream(clip_THWC, context) for clip_THWC in probe_BTHWC])
    columns = [f"t + {t + 1}" for t in range(dreamed.shape[1])]
    return Picture("dynamics_prediction", probe_BTHWC[:, context:], dreamed, columns)
