"""Whether actions matter: how much worse a dream gets when its actions are drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Dataset
from terrarium.data.places import read
from terrarium.evaluate.fidelity import Floats, psnr
from terrarium.evaluate.footage import Clip, batches, spread_clips
from terrarium.evaluate.measured import Figures
from terrarium.evaluate.rollouts import BATCH
from terrarium.evaluate.trained import Trained

HORIZON = 4
RANDOM_DRAWS = 4  # of random actions per clip: less noise at little cost
BOOTSTRAP_DRAWS = 4000
CONFIDENCE = 0.95


def score_controllability(models: Trained, dataset: Dataset, clips: int, seed: int) -> Figures:
    """`delta_psnr_t4`: mean and 95 % interval over held-out clips, in dB.

    The ΔPSNR of Genie (Bruce et al. 2024, section 3, "metrics") at t = 4: the PSNR of the fourth dreamed
    frame when the world takes the actions that its encoder inferred from the footage, minus that when it
    takes actions drawn uniformly at random. Above 0 the actions matter; 0 is a world that ignores them.

    Clips of one episode are alike, so the interval comes from resampling whole episodes. With a single
    episode there is no interval, and `reason` says so.
    """
    chosen = spread_clips(dataset.held_out, models.context_frames, HORIZON, clips)
    if not chosen:
        nothing: Figures = dict.fromkeys(("mean", "low", "high"))
        return {**nothing, "reason": f"no held-out episode is longer than {HORIZON} frames"}
    generator = np.random.default_rng([seed, 2])
    alike = list(batches(chosen, BATCH))
    delta_N = np.concatenate([_delta(models, batch, generator, seed) for batch in alike])
    episode_N = np.array([clip.episode.index for batch in alike for clip in batch])
    return {"mean": float(delta_N.mean()), **_interval(delta_N, episode_N, seed)}


def _interval(delta_N: Floats, episode_N: NDArray[np.int64], seed: int) -> Figures:
    counts: Figures = {"clips": len(delta_N), "episodes": len(np.unique(episode_N))}
    if counts["episodes"] == 1:
        why = "only one held-out episode: an interval needs at least two"
        return {"low": None, "high": None, **counts, "reason": why}
    low, high = bootstrap_interval(delta_N, episode_N, seed)
    return {"low": low, "high": high, **counts}


def bootstrap_interval(values_N: Floats, cluster_N: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """A 95 % interval of the mean, from resampling whole clusters (Cameron et al. 2008, "pairs cluster").

    Args:
        values_N: what is averaged.
        cluster_N: which cluster each belongs to; at least two clusters.
        seed: of the resampling.

    Returns:
        The 2.5 and 97.5 percentiles of the resampled means. With few clusters it is a little too narrow.
    """
    _, member_N = np.unique(cluster_N, return_inverse=True)
    counts_K = np.bincount(member_N)
    sums_K = np.bincount(member_N, weights=values_N)
    clusters = len(counts_K)
    picks_RK = np.random.default_rng([seed, 3]).integers(0, clusters, (BOOTSTRAP_DRAWS, clusters))
    means_R = sums_K[picks_RK].sum(1) / counts_K[picks_RK].sum(1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means_R, [tail, 100 - tail])
    return float(low), float(high)


def _delta(models: Trained, clips: Sequence[Clip], generator: np.random.Generator, seed: int) -> Floats:
    """PSNR with inferred actions minus that with random ones (N,), for clips of equal context.

    Both dreams decode tokens in the same order, so that nothing but the actions differs.
    """
    frames_BTHWC, shown = read(clips), clips[0].context
    codes_BT = models.infer_actions(frames_BTHWC)
    led_BT, taken_BT = codes_BT[:, : shown - 1], codes_BT[:, shown - 1 :]

    def quality(taken_BT: NDArray[np.int64]) -> Floats:
        return psnr(models.dream(frames_BTHWC[:, :shown], led_BT, taken_BT, seed), frames_BTHWC[:, -1])

    actions = models.latent_actions.codes
    random = [quality(generator.integers(0, actions, taken_BT.shape)) for _ in range(RANDOM_DRAWS)]
    delta_N: Floats = quality(taken_BT) - np.mean(random, axis=0)
    return delta_N
