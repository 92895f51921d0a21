"""The detectors: one function per code; its docstring is the page that `--explain` prints.

A function called `loss_diverging` has the code `loss-diverging`. It yields findings, or nothing: it never
says that all is well, never raises because of what a history holds, and decides nothing about causes. Which
finding leads and which ones follow from it is decided in one place, `terrarium.doctor.causes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from terrarium.doctor.detectors.actions import actions_collapsed, actions_narrow, actions_unstable
from terrarium.doctor.detectors.checkpoints import (
    checkpoint_damaged,
    checkpoint_empty,
    checkpoint_foreign,
    checkpoint_hostile,
    checkpoint_newest_unusable,
    checkpoint_not_finite,
    checkpoint_wrong_step,
    checkpoint_zero,
)
from terrarium.doctor.detectors.codes import codebook_collapsed
from terrarium.doctor.detectors.gradients import gradient_exploding, gradient_not_finite, gradient_vanishing
from terrarium.doctor.detectors.learning_rate import learning_rate_not_applied, learning_rate_zero
from terrarium.doctor.detectors.learning_rate_high import learning_rate_too_high
from terrarium.doctor.detectors.loss_chance import loss_not_learning, loss_worse_than_chance
from terrarium.doctor.detectors.loss_pattern import loss_sawtooth
from terrarium.doctor.detectors.loss_restarts import loss_jump
from terrarium.doctor.detectors.loss_spikes import loss_spike
from terrarium.doctor.detectors.loss_trend import loss_diverging, loss_drifting_up
from terrarium.doctor.detectors.loss_unit import loss_unit
from terrarium.doctor.detectors.loss_values import loss_constant, loss_not_finite
from terrarium.doctor.detectors.memory import memory_growing
from terrarium.doctor.detectors.movement import parameters_frozen
from terrarium.doctor.detectors.overfitting import overfitting
from terrarium.doctor.detectors.pictures import (
    picture_blocks,
    picture_blurred,
    picture_flat,
    picture_frozen,
    picture_noise,
    picture_stripes,
    picture_tiles,
)
from terrarium.doctor.detectors.ranks import rank_clocks_differ, rank_slower, ranks_share_clips
from terrarium.doctor.detectors.refused import checkpoint_refused, every_rank_saves
from terrarium.doctor.detectors.stages import upstream_unsound
from terrarium.doctor.detectors.stalls import run_stalled, run_unfinished
from terrarium.doctor.detectors.steps import rows_damaged, steps_missing, steps_repeated
from terrarium.doctor.detectors.throughput import device_idle, throughput_dropped
from terrarium.doctor.detectors.warmup import learning_rate_no_warmup
from terrarium.doctor.detectors.world import world_falls_short
from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.finding import Finding

StageDetector: TypeAlias = Callable[[StageEvidence], Iterator[Finding]]
RunDetector: TypeAlias = Callable[[Evidence], Iterator[Finding]]

STAGE_DETECTORS: tuple[StageDetector, ...] = (
    actions_collapsed,
    actions_narrow,
    actions_unstable,
    checkpoint_damaged,
    checkpoint_empty,
    checkpoint_foreign,
    checkpoint_hostile,
    checkpoint_newest_unusable,
    checkpoint_not_finite,
    checkpoint_refused,
    checkpoint_wrong_step,
    checkpoint_zero,
    codebook_collapsed,
    device_idle,
    every_rank_saves,
    gradient_exploding,
    gradient_not_finite,
    gradient_vanishing,
    learning_rate_no_warmup,
    learning_rate_not_applied,
    learning_rate_too_high,
    learning_rate_zero,
    loss_constant,
    loss_diverging,
    loss_drifting_up,
    loss_jump,
    loss_not_finite,
    loss_not_learning,
    loss_sawtooth,
    loss_spike,
    loss_unit,
    loss_worse_than_chance,
    memory_growing,
    overfitting,
    parameters_frozen,
    picture_blocks,
    picture_blurred,
    picture_flat,
    picture_frozen,
    picture_noise,
    picture_stripes,
    picture_tiles,
    rank_clocks_differ,
    ranks_share_clips,
    rank_slower,
    rows_damaged,
    steps_missing,
    steps_repeated,
    throughput_dropped,
)
RUN_DETECTORS: tuple[RunDetector, ...] = (
    run_stalled,
    run_unfinished,
    upstream_unsound,
    world_falls_short,
)


def code_of(detector: Callable[..., Iterator[Finding]]) -> str:
    """The code of a detector: its name with hyphens."""
    return detector.__name__.replace("_", "-")
