"""All scores of a run: `scores.json`, from held-out episodes alone."""

from __future__ import annotations

from collections.abc import Callable

from terrarium.data.dataset import Dataset
from terrarium.errors import DataError, RunError
from terrarium.evaluate.actions import score_actions
from terrarium.evaluate.controllability import score_controllability
from terrarium.evaluate.reconstruction import score_tokenizer
from terrarium.evaluate.rollouts import score_rollouts
from terrarium.evaluate.timing import time_play
from terrarium.evaluate.trained import Trained
from terrarium.models.build import frame_size, run_config, trained_checkpoint
from terrarium.models.device import choose_device
from terrarium.run.disk import shown
from terrarium.run.folder import STAGES, RunFolder, read_json, write_json

FORMAT = 1
NAME = "scores.json"


def evaluate(run: RunFolder, *, progress: Callable[[str], None]) -> dict[str, object]:
    """Score a trained run on the held-out episodes of its own footage, and write `scores.json`.

    Training episodes are used only to fit what scores are compared with: the code -> action map, the majority
    action, the supervised inverse model and the mean frame. Equal runs give equal scores, except for the
    times under `play`. A figure that can't be measured is null, with the reason beside it. The function that
    measures a figure documents it.

    Args:
        run: has a valid checkpoint of each stage.
        progress: called with a line about what comes next.

    Returns:
        What was written.

    Raises:
        RunError: the footage is not what the run was started on, or `scores.json` can't be written.
        DataError: the footage is missing or damaged.
        CheckpointError: a stage has no valid checkpoint.
    """
    config, dataset = run_config(run), open_footage(run)
    models, asked = Trained.load(run, choose_device(config.device)), config.evaluate
    scores: dict[str, object] = {
        "format": FORMAT,
        "seed": config.seed,
        "checkpoints": {stage: trained_checkpoint(run.stage(stage)).name for stage in STAGES},
        "held_out": {
            "episodes": len(dataset.held_out),
            "frames": sum(len(episode) for episode in dataset.held_out),
        },
    }
    progress("scoring the tokenizer on held-out frames")
    scores["video_tokenizer"] = score_tokenizer(models, dataset, asked.frames)
    progress("scoring the latent actions on held-out transitions")
    scores["latent_actions"] = score_actions(models, dataset, asked, config.seed)
    progress("dreaming held-out clips with inferred and with random actions")
    delta = score_controllability(models, dataset, asked.clips, config.seed)
    progress(f"dreaming held-out clips {', '.join(map(str, asked.horizons))} frames ahead")
    rollouts = score_rollouts(models, dataset, asked.clips, asked.horizons, config.seed)
    scores["dynamics"] = {"delta_psnr_t4": delta, **rollouts}
    progress("timing play")
    scores["play"] = time_play(models, dataset.held_out, asked.timing_steps, config.seed)
    write_json(run.path / NAME, scores)
    return scores


def read_scores(run: RunFolder) -> dict[str, object]:
    """The content of a run's `scores.json`; empty if it was not scored.

    Raises:
        RunError: the file is damaged.
    """
    path = run.path / NAME
    scores = read_json(path) if path.exists() else {}
    return scores if isinstance(scores, dict) else {}


def open_footage(run: RunFolder) -> Dataset:
    """Open the footage of a run: where it was, or else in the run's own folder, where `demo` records it.

    Raises:
        RunError: it is not what the run was started on.
        DataError: it is missing or damaged.
    """
    inside = run.path / "footage"
    path = inside if inside.is_dir() and not run.data.exists() else run.data
    if not path.exists():
        raise DataError(
            f"the footage of {run.path} is no longer in {path}",
            f"Put it back, or say where it is now: terrarium train --run {run.path} --data FOLDER",
        )
    dataset = Dataset.open(path)
    expected = run.facts.get("data_fingerprint")
    if dataset.fingerprint != expected or (dataset.height, dataset.width) != frame_size(run):
        raise RunError(
            f"the footage in {dataset.path} has fingerprint {dataset.fingerprint}, but {run.path} was "
            f"trained on footage with fingerprint {shown(expected)}",
            "Put the footage back that the run was trained on",
        )
    return dataset
