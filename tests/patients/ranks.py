"""What several processes say after each step: stages of sick and of healthy ones that look alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from patients.courses import Random
from terrarium.doctor.evidence import Kind, StageEvidence
from terrarium.doctor.history import FloatArray
from terrarium.doctor.ranks import Stretch, Together

StageMaker = Callable[[Random], StageEvidence]
STEP_SECONDS = (0.05, 0.3, 2.0)
BEGAN = 1.8e9  # seconds of the wall clock


def stage_of(*stretches: Stretch) -> StageEvidence:
    return StageEvidence("dynamics", Kind.RUN, ranks=Together("dynamics/ranks.jsonl", stretches))


def sizes(rng: Random) -> tuple[int, int]:
    """Steps and processes."""
    return int(rng.integers(60, 3000)), int(rng.choice([2, 2, 3, 4, 8, 16]))


def noisy(rng: Random, steps: int, count: int) -> FloatArray:
    """Seconds until ready, over the typical ones [steps, count]: on machines that others use too.

    Heavy tails, slow waves that each rank has of its own, and one that all share; the first rank is late
    where it draws or saves.
    """
    own = rng.lognormal(0, rng.uniform(0.05, 0.6), (steps, count))
    own *= 1 + (rng.random((steps, count)) < 0.02) * rng.exponential(5, (steps, count))
    places = np.arange(steps)[:, None] / steps
    waves = rng.uniform(0, 0.15, count) * np.sin(
        rng.uniform(3, 40, count) * places + rng.uniform(0, 6, count)
    )
    shared = 0.2 * np.sin(rng.uniform(3, 30) * places)
    own *= rng.uniform(0.9, 1.1, count) * np.exp(waves + shared)
    own[:: int(rng.integers(20, 100)), 0] += rng.uniform(5, 60)
    return np.asarray(own)


def together(rng: Random, over_typical_NR: FloatArray, *, places: int = 5000, clips: int = 1) -> Stretch:
    """Processes that said so when they were ready; each had clips of its own, drawn from so many places."""
    steps, count = over_typical_NR.shape
    step_seconds, forward = float(rng.choice(STEP_SECONDS)), float(rng.uniform(0.25, 0.7))
    ready_NR = forward * step_seconds * over_typical_NR
    ends = BEGAN + np.cumsum(ready_NR.max(axis=1) + (1 - forward) * step_seconds)
    clock_NR = ends[:, None] - rng.uniform(0, 0.1 * step_seconds, (steps, count))
    draws = rng.integers(0, places, (steps, count, clips))
    clips_NR = (draws * (places ** np.arange(clips))).sum(axis=2)
    return Stretch(np.arange(steps, dtype=np.float64), ready_NR, clips_NR, np.asarray(clock_NR))


def ordinary(rng: Random) -> Stretch:
    return together(rng, noisy(rng, *sizes(rng)))


def one_slow(rng: Random) -> StageEvidence:
    """One machine is slower, from the beginning or from some step on."""
    steps, count = sizes(rng)
    over = noisy(rng, steps, count)
    begin = int(steps * rng.choice([0.0, rng.uniform(0.1, 0.8)]))
    over[begin:, int(rng.integers(count))] *= rng.uniform(2.0, 5.0)
    return stage_of(together(rng, over))


def one_stutters(rng: Random) -> StageEvidence:
    """The loader of one rank can't keep up: every third step it waits for its clips."""
    steps, count = sizes(rng)
    over = noisy(rng, steps, count)
    over[:, int(rng.integers(count))] *= np.where(rng.random(steps) < 0.4, rng.uniform(4, 8), 1.0)
    return stage_of(together(rng, over))


def two_slow(rng: Random) -> StageEvidence:
    """One machine of several, with two ranks on it."""
    over = noisy(rng, int(rng.integers(100, 1500)), 6)
    over[:, [2, 3]] *= rng.uniform(2.0, 3.0)
    return stage_of(together(rng, over))


def one_seed(rng: Random) -> StageEvidence:
    """Every rank draws with the same seed, from the beginning or since a resume."""
    stretch = ordinary(rng)
    begin = int(stretch.steps_N.size * rng.choice([0.0, rng.uniform(0.1, 0.6)]))
    clips_NR = stretch.clips_NR.copy()
    clips_NR[begin:] = clips_NR[begin:, :1]
    return stage_of(replace(stretch, clips_NR=clips_NR))


def two_share_a_seed(rng: Random) -> StageEvidence:
    """Of eight ranks two draw the same: the number of the machine is missing in their seed."""
    stretch = together(rng, noisy(rng, int(rng.integers(60, 1000)), 8))
    clips_NR = stretch.clips_NR.copy()
    clips_NR[:, 5] = clips_NR[:, 1]
    return stage_of(replace(stretch, clips_NR=clips_NR))


def one_seed_on_tiny_footage(rng: Random) -> StageEvidence:
    """The same where chance alone makes ranks meet every fourth step."""
    stretch = together(rng, noisy(rng, int(rng.integers(100, 1000)), 2), places=4)
    return stage_of(replace(stretch, clips_NR=np.repeat(stretch.clips_NR[:, :1], 2, axis=1)))


def clock_off(rng: Random) -> StageEvidence:
    """One clock is minutes ahead or behind, from the beginning or since somebody set it."""
    stretch = ordinary(rng)
    begin = int(stretch.steps_N.size * rng.choice([0.0, rng.uniform(0.1, 0.6)]))
    clock_NR = stretch.clock_NR.copy()
    clock_NR[begin:, int(rng.integers(stretch.count))] += rng.choice([-1, 1]) * rng.uniform(20, 4000)
    return stage_of(replace(stretch, clock_NR=clock_NR))


SICK: dict[str, dict[str, StageMaker]] = {
    "rank-slower": {"slow": one_slow, "stutters": one_stutters, "two": two_slow},
    "ranks-share-clips": {"seed": one_seed, "pair": two_share_a_seed, "tiny": one_seed_on_tiny_footage},
    "rank-clocks-differ": {"off": clock_off},
}


def healthy(rng: Random) -> StageEvidence:
    return stage_of(ordinary(rng))


def tiny_footage(rng: Random) -> StageEvidence:
    """So few clips that ranks meet by chance, in every third step or more."""
    steps, count = sizes(rng)
    return stage_of(together(rng, noisy(rng, steps, count), places=int(rng.integers(1, 12))))


def by_turns(rng: Random) -> StageEvidence:
    """Each rank is slow for a while, none for ever: a machine that others use."""
    steps, count = sizes(rng)
    over = noisy(rng, steps, count)
    edges = np.linspace(0, 0.9 * steps, 12).astype(int)
    for begin, end in pairwise(edges.tolist()):
        over[begin:end, int(rng.integers(count))] *= rng.uniform(1.5, 4)
    return stage_of(together(rng, over))


def caught_up(rng: Random) -> StageEvidence:
    steps, count = sizes(rng)
    over = noisy(rng, steps, count)
    over[: int(0.7 * steps), 1] *= 3
    return stage_of(together(rng, over))


def short(rng: Random) -> StageEvidence:
    return stage_of(together(rng, noisy(rng, int(rng.integers(1, 25)), 2)))


def slow_steps(rng: Random) -> StageEvidence:
    """Steps of a minute, at whose end ranks come by and by: what differs is when their clocks were read."""
    stretch = ordinary(rng)
    spent = 60.0 * (1 + np.arange(stretch.steps_N.size))[:, None]
    late = rng.uniform(0, 50, stretch.count)  # always the same
    return stage_of(replace(stretch, clock_NR=BEGAN + spent + late))


def set_right(rng: Random) -> StageEvidence:
    stretch = ordinary(rng)
    clock_NR = stretch.clock_NR.copy()
    clock_NR[: stretch.steps_N.size // 2, 1] += 300
    return stage_of(replace(stretch, clock_NR=clock_NR))


def another_number(rng: Random) -> StageEvidence:
    """Two, then three, then one more than these: a job that was started anew with what there was."""
    parts = [together(rng, noisy(rng, int(rng.integers(5, 400)), count)) for count in (2, 3, 4)]
    begins = np.cumsum([0, *(part.steps_N.size for part in parts)])
    moved = [
        replace(part, steps_N=part.steps_N + begin) for part, begin in zip(parts, begins[:-1], strict=True)
    ]
    return stage_of(*moved)


def says_nothing(rng: Random) -> StageEvidence:
    """Rows without figures."""
    stretch = ordinary(rng)
    nothing = np.full_like(stretch.ready_NR, np.nan)
    return stage_of(
        replace(stretch, ready_NR=nothing, clock_NR=nothing, clips_NR=np.full_like(stretch.clips_NR, -1))
    )


HEALTHY: dict[str, StageMaker] = {
    "ordinary": healthy,
    "tiny-footage": tiny_footage,
    "by-turns": by_turns,
    "caught-up": caught_up,
    "short": short,
    "slow-steps": slow_steps,
    "set-right": set_right,
    "another-number": another_number,
    "says-nothing": says_nothing,
}
