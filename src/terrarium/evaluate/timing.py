"""How fast a world is played: one visitor, one frame at a time, as `World.step` does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from terrarium.data.dataset import Episode
from terrarium.evaluate.fidelity import Floats
from terrarium.evaluate.measured import Figures
from terrarium.evaluate.trained import Trained

WARM_UP = 10  # steps beyond those that fill the context


def time_play(models: Trained, held_out: Sequence[Episode], steps: int, seed: int) -> Figures:
    """Time `steps` steps with random actions from a held-out start, after a warm-up.

    `frames_per_second` is frames divided by the whole time, slow ones included, with each frame decoded to
    pixels; `..._without_decoding` leaves them as tokens. `median_ms` and `p99_ms` are times of single frames,
    with decoding; `p99_ms` is a measured time, not an interpolated one.
    """
    world = models.world(seed)
    start_THWC = max(held_out, key=len).frames_THWC[: models.context_frames]
    codes_T = np.random.default_rng([seed, 4]).integers(0, world.actions, steps)

    def measure(step: Callable[[int], object]) -> Floats:
        world.reset(start_THWC)
        for _ in range(models.context_frames + WARM_UP):
            step(0)
        return np.array([_seconds(step, int(code), models.device) for code in codes_T])

    whole_T, tokens_T = measure(world.step), measure(world.step_tokens)
    return {
        "frames_per_second": _rate(whole_T),
        "frames_per_second_without_decoding": _rate(tokens_T),
        "median_ms": float(1000 * np.median(whole_T)),
        "p99_ms": float(1000 * np.percentile(whole_T, 99, method="higher")),
        "context_frames": models.context_frames,
        "decoding_steps": models.dynamics.config.decoding_steps,
        "timed_steps": steps,
        "threads": torch.get_num_threads(),
        "device": str(models.device),
    }


def _seconds(step: Callable[[int], object], code: int, device: torch.device) -> float:
    started = time.perf_counter()
    step(code)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # step returns before the work is done
    return time.perf_counter() - started


def _rate(seconds_T: NDArray[np.float64]) -> float:
    return float(len(seconds_T) / seconds_T.sum())
