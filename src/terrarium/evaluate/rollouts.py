"""How long a dream stays true: PSNR of dreamed frames at each horizon, with floors and a ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrarium.data.dataset import Dataset
from terrarium.data.places import mean_frame, read
from terrarium.evaluate.fidelity import Floats, Frames, psnr
from terrarium.evaluate.footage import Clip, batches, spread_clips
from terrarium.evaluate.measured import Figures
from terrarium.evaluate.trained import Trained

BATCH = 32  # clips dreamed at once

# what is measured -> its key in scores.json
KEYS = {
    "dreamed": "rollout_psnr",
    "copy_last": "copy_last_psnr",
    "mean_frame": "mean_frame_psnr",
    "ceiling": "tokenizer_ceiling_psnr",
}


@dataclass(frozen=True)
class Horizon:
    """PSNR in dB of the frame one horizon after the last one shown, for each clip (N,).

    Attributes:
        dreamed: of the world's frame, given the actions that its own encoder inferred from the footage.
        copy_last: of the last frame shown: a floor.
        mean_frame: of the mean training frame: a floor.
        ceiling: of the true frame through tokens and back; no dream of tokens can look better for long.
        change: mean squared difference between the last frame shown and the true one, on the scale 0 to 255.
    """

    dreamed: Floats
    copy_last: Floats
    mean_frame: Floats
    ceiling: Floats
    change: Floats

    def moving(self) -> NDArray[np.bool_]:
        """Which clips changed more over the horizon than the median one (N,)."""
        median = np.median(self.change) if len(self.change) else 0.0
        return np.asarray(self.change > median)


def score_rollouts(
    models: Trained, dataset: Dataset, clips: int, horizons: Sequence[int], seed: int
) -> Figures:
    """`rollout_psnr` and the rest of `KEYS`: horizon -> mean PSNR in dB over moving held-out clips.

    Moving clips are those whose change over that horizon is above the median of all clips evaluated. On
    nearly static footage a copied frame wins whatever the model does, so plain means say little; they are
    stored under the same names with `_all`. If no clip moves over a horizon its figures are null, and
    `reason_<horizon>` says why. `clips`, `moving_clips` and `short_context_clips` (from episodes too short
    for the whole context) are counts per horizon.
    """
    mean_HWC = mean_frame(dataset.train)
    figures: Figures = {key + ending: {} for key in KEYS.values() for ending in ("", "_all")}
    figures |= {name: {} for name in ("clips", "moving_clips", "short_context_clips")}
    for horizon in horizons:
        chosen = spread_clips(dataset.held_out, models.context_frames, horizon, clips)
        found = _dream_all(models, chosen, mean_HWC, seed)
        short = sum(clip.context < models.context_frames for clip in chosen)
        _add(figures, str(horizon), found, short)
    return figures


def _add(figures: Figures, horizon: str, found: Horizon, short: int) -> None:
    moving = found.moving()
    rows = {key: getattr(found, name) for name, key in KEYS.items()}
    entries: Figures = {key: _mean(values[moving]) for key, values in rows.items()}
    entries |= {f"{key}_all": _mean(values) for key, values in rows.items()}
    entries |= {"clips": len(moving), "moving_clips": int(moving.sum()), "short_context_clips": short}
    for key, value in entries.items():
        table = figures[key]
        assert isinstance(table, dict)  # noqa: S101 - for the type checker: made so above
        table[horizon] = value
    if not moving.any():
        figures[f"reason_{horizon}"] = _why_none_moves(horizon, len(moving))


def _why_none_moves(horizon: str, clips: int) -> str:
    if not clips:
        return f"no held-out episode is longer than {horizon} frames"
    if clips == 1:
        return f"only one held-out clip of {horizon} frames: none changes more than the median one"
    return f"all held-out clips change alike over {horizon} frames"


def _dream_all(models: Trained, clips: Sequence[Clip], mean_HWC: Frames, seed: int) -> Horizon:
    rows = [_dream(models, batch, mean_HWC, seed) for batch in batches(clips, BATCH)]
    columns = zip(*rows, strict=True) if rows else [[np.zeros(0)]] * 5
    return Horizon(*(np.concatenate(column) for column in columns))


def _dream(models: Trained, clips: Sequence[Clip], mean_HWC: Frames, seed: int) -> list[Floats]:
    """The fields of `Horizon` for clips of equal context."""
    frames_BTHWC, shown = read(clips), clips[0].context
    codes_BT = models.infer_actions(frames_BTHWC)
    dreamed = models.dream(frames_BTHWC[:, :shown], codes_BT[:, : shown - 1], codes_BT[:, shown - 1 :], seed)
    truth, last = frames_BTHWC[:, -1], frames_BTHWC[:, shown - 1]
    painted, _ = models.reconstruct(truth)
    change = ((truth.astype(np.float64) - last) ** 2).mean((1, 2, 3))
    mean_frames = np.broadcast_to(mean_HWC, truth.shape)
    return [*(psnr(frames, truth) for frames in (dreamed, last, mean_frames, painted)), change]


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
