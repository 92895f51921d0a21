"""Scores of the latent actions: what codes reveal about true actions, and whether the decoder needs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terrarium.config import EvaluateConfig
from terrarium.data.dataset import Dataset
from terrarium.data.places import Place, chunks, spread_places
from terrarium.evaluate.association import (
    best_map,
    code_labels,
    count_pairs,
    majority_accuracy,
    map_accuracy,
    mutual_information,
)
from terrarium.evaluate.footage import first_actions
from terrarium.evaluate.inverse_model import supervised_accuracy
from terrarium.evaluate.measured import Figures, absent
from terrarium.evaluate.trained import Trained

SHUFFLED_CLIPS = 512  # more would change the third digit
NEED_TRUTH = (
    "accuracy",
    "majority_accuracy",
    "supervised_accuracy",
    "mutual_information",
    "table",
    "code_names",
)
NO_ACTIONS = "the footage has no true actions"
NO_PAIRS = "no held-out episode has two frames"
NO_TRAINING_PAIRS = "no training episode has two frames"


def score_actions(models: Trained, dataset: Dataset, config: EvaluateConfig, seed: int) -> Figures:
    """Compare the codes of at most `config.frames` held-out transitions with the true actions, if known.

    - `accuracy`: on held-out episodes, of the best code -> action map fitted on training episodes; beside it
      `majority_accuracy` (always the commonest training action) and `supervised_accuracy` (a small network
      trained on the true actions).
    - `mutual_information`: of code and action, nats, corrected for chance.
    - `table`: held-out counts, codes x actions; `action_names` and `code_names` are its labels.
    - `codes_used`: how many codes occur on held-out footage.
    - `shuffled_loss_ratio`: see `shuffled_loss_ratio`.
    """
    held_out = spread_places(dataset.held_out, 2, config.frames)
    codes_N = _codes(models, held_out)
    return {
        **_against_truth(models, dataset, held_out, codes_N, config, seed),
        **({"codes_used": len(np.unique(codes_N))} if held_out else absent(["codes_used"], NO_PAIRS)),
        "codes": models.latent_actions.codes,
        "transitions": len(held_out),
        **shuffled_loss_ratio(models, dataset, min(config.frames, SHUFFLED_CLIPS), seed),
    }


def _against_truth(
    models: Trained,
    dataset: Dataset,
    held_out: Sequence[Place],
    codes_N: NDArray[np.int64],
    config: EvaluateConfig,
    seed: int,
) -> Figures:
    names, train = dataset.action_names, spread_places(dataset.train, 2, config.frames)
    if names is None or not held_out or not train:
        reason = NO_ACTIONS if names is None else NO_PAIRS if not held_out else NO_TRAINING_PAIRS
        return {**dict.fromkeys(NEED_TRUTH), "action_names": names and list(names), "reason": reason}
    sizes = models.latent_actions.codes, len(names)
    train_KA = count_pairs(_codes(models, train), first_actions(train), *sizes)
    held_KA = count_pairs(codes_N, first_actions(held_out), *sizes)
    map_K = best_map(train_KA)
    return {
        "accuracy": map_accuracy(held_KA, map_K),
        "majority_accuracy": majority_accuracy(held_KA, train_KA),
        **_ceiling(models, dataset, held_out, len(names), config.inverse_model_steps, seed),
        "mutual_information": mutual_information(held_KA),
        "table": held_KA.tolist(),
        "action_names": list(names),
        "code_names": code_labels(held_KA, map_K, names),
    }


def _ceiling(
    models: Trained, dataset: Dataset, held_out: Sequence[Place], n_actions: int, steps: int, seed: int
) -> Figures:
    if not steps:
        return absent(["supervised_accuracy"], "evaluate.inverse_model_steps is 0")
    accuracy = supervised_accuracy(
        dataset.train, held_out, n_actions, steps=steps, seed=seed, device=models.device
    )
    return {"supervised_accuracy": accuracy}


def shuffled_loss_ratio(models: Trained, dataset: Dataset, count: int, seed: int) -> Figures:
    """The decoder's mean error with the codes of other held-out clips, divided by that with the right codes.

    Frames and codes are the same, only in another order: 1 means that the decoder ignores codes, above 1 that
    it needs them. Every clip gets another clip's code, which may happen to be equal.
    """
    model, name = models.latent_actions, "shuffled_loss_ratio"
    needed = model.config.past_frames + 2
    places = spread_places(dataset.held_out, needed, count)
    if len(places) < 2:
        return absent([name], f"held-out footage has no two clips of {needed} frames")
    codes_N = np.concatenate([models.infer_actions(clips[:, -2:])[:, 0] for clips in chunks(places)])
    true = _decoder_error(models, places, codes_N)
    if true <= 0:
        return absent([name], "the decoder makes no error with the right codes")
    return {name: _decoder_error(models, places, derange(codes_N, seed)) / true}


def derange(values_N: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The values in a random order in which none keeps its place: one random cycle through all places."""
    order_N = np.random.default_rng([seed, 1]).permutation(len(values_N))
    moved_N = np.empty_like(values_N)
    moved_N[order_N] = values_N[np.roll(order_N, 1)]
    return moved_N


@torch.inference_mode()
def _decoder_error(models: Trained, places: Sequence[Place], codes_N: NDArray[np.int64]) -> float:
    """Mean error of the last frame of each clip, given a code for the last change."""
    model, start, total = models.latent_actions, 0, 0.0
    for clips in chunks(places):
        video_BTCHW = models.to_video(clips)
        codes_B = torch.from_numpy(codes_N[start : start + len(clips)]).to(models.device)
        predicted = model.predict(video_BTCHW, _last_signs(models, codes_B, clips.shape[1] - 1))
        total += float(model.error(video_BTCHW, predicted).sum())
        start += len(clips)
    return total / len(places)


def _last_signs(models: Trained, codes_B: Tensor, changes: int) -> Tensor:
    """Signs (B, changes, A) that are right for the last change, the only one that the decoder is given."""
    signs_BA = models.latent_actions.quantizer.to_signs(codes_B)
    return signs_BA[:, None].expand(-1, changes, -1)


def _codes(models: Trained, places: Sequence[Place]) -> NDArray[np.int64]:
    """The code of each stretch of two frames (N,)."""
    parts = [models.infer_actions(pairs)[:, 0] for pairs in chunks(places)]
    return np.concatenate([*parts, np.zeros(0, np.int64)])
