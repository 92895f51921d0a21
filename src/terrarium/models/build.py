"""From a configuration to a model, and from a run folder to the model that was trained there."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import safetensors.torch
from torch import Tensor, nn

from terrarium.config import Config, from_tree
from terrarium.errors import CheckpointError, RunError
from terrarium.models.dynamics import Dynamics
from terrarium.models.latent_actions import LatentActions
from terrarium.models.tokenizer import STRIDE, VideoTokenizer
from terrarium.run.checkpoint import read_files
from terrarium.run.folder import RunFolder, StageFolder, read_json
from terrarium.run.survey import newest_valid

Model = TypeVar("Model", bound=nn.Module)


def build_tokenizer(config: Config, height: int, width: int) -> VideoTokenizer:
    """The tokenizer for frames of a size in pixels."""
    return VideoTokenizer(config.video_tokenizer, height, width)


def build_latent_actions(config: Config) -> LatentActions:
    """The latent actions; they take frames of any size."""
    return LatentActions(config.latent_actions)


def build_dynamics(config: Config, height: int, width: int) -> Dynamics:
    """The dynamics over the tokens of frames of a size in pixels."""
    grid = (height // STRIDE, width // STRIDE)
    return Dynamics(config.dynamics, config.video_tokenizer.levels, grid, 2**config.latent_actions.bits)


def frame_size(run: RunFolder) -> tuple[int, int]:
    """Height and width of the run's frames in pixels.

    Raises:
        RunError: `run.json` does not say, or says something impossible.
    """
    size = run.facts.get("frame_size")
    if (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(pixels, int) and 8 <= pixels <= 4096 and pixels % STRIDE == 0 for pixels in size)
    ):
        return size[0], size[1]
    raise RunError(f"{run.path / 'run.json'}: the key 'frame_size' is {size!r}, not [height, width]")


def run_config(run: RunFolder) -> Config:
    """The configuration that a run was started with."""
    return from_tree(run.facts.get("config"), str(run.path / "run.json"))


def load_tokenizer(run: RunFolder) -> VideoTokenizer:
    """The trained tokenizer of a run, frozen."""
    model = build_tokenizer(run_config(run), *frame_size(run))
    return load_trained(model, run.stage("video_tokenizer"))


def load_latent_actions(run: RunFolder) -> LatentActions:
    """The trained latent actions of a run, frozen."""
    return load_trained(build_latent_actions(run_config(run)), run.stage("latent_actions"))


def load_dynamics(run: RunFolder) -> Dynamics:
    """The trained dynamics of a run, frozen."""
    model = build_dynamics(run_config(run), *frame_size(run))
    return load_trained(model, run.stage("dynamics"))


def load_trained(model: Model, stage: StageFolder) -> Model:
    """Fill a model with the averaged weights of the stage's newest valid checkpoint, and freeze it.

    Raises:
        CheckpointError: there is no valid checkpoint, or it is from another configuration.
    """
    path = trained_checkpoint(stage)
    load_weights(model, safetensors.torch.load(read_files(path)["ema.safetensors"]), path)
    return model.eval().requires_grad_(False)


def trained_checkpoint(stage: StageFolder) -> Path:
    """The newest valid checkpoint of a stage.

    Raises:
        CheckpointError: there is none.
    """
    path, passed_over = newest_valid(stage)
    if path is None:
        reasons = "; ".join(f"{judgement.path.name}: {judgement.reason}" for judgement in passed_over)
        raise CheckpointError(
            f"the stage {stage.name} has no valid checkpoint in {stage.checkpoints_path}"
            + (f" ({reasons})" if reasons else ""),
            f"Train it with: terrarium train --run {stage.path.parent}",
        )
    return path


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model; every name and shape must match.

    Raises:
        CheckpointError: one does not match.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = lines[1].strip() if len(lines) > 1 else lines[0]
        raise CheckpointError(
            f"{path} does not fit the configuration of its run: {reason}", "Was run.json changed by hand?"
        ) from error


def stage_is_trained(stage: StageFolder) -> bool:
    """Whether the stage has a checkpoint of the last step that its configuration asks for."""
    if not stage.config_path.exists():
        return False
    facts = read_json(stage.config_path)
    steps = facts.get("steps") if isinstance(facts, dict) else None
    path, _ = newest_valid(stage)
    return path is not None and path.name == f"{stage.name}_step_{steps}"
