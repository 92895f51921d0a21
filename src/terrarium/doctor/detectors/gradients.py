"""The norm of the gradients against its own typical level: exploding, vanishing, or not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.detectors.loss_curve import loss_curve
from terrarium.doctor.detectors.loss_rise import loss_rise
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import BoolArray, FloatArray
from terrarium.doctor.statistics.levels import Shift, find_shift

LEAST_ROWS = 100
GROWN, HUGE = 10.0, 100.0
STILL_GROWN = 5.0
WARM_UP = 0.1  # of the rows: growth that begins before is a warm-up, unless the loss is ill
GONE = 1e-3  # of the typical level
NOTHING = 1e-8
CONVERGED = 0.01  # of the first loss
LOSS_FALLS = 0.02
SCALER_ROWS = 50  # first rows, in which a loss scaler tries out its scale
SCALER_RUN, SCALER_SHARE = 4, 0.01


def gradient_exploding(stage: StageEvidence) -> Iterator[Finding]:
    """The gradients have grown out of hand.

    Looks for: a change point after which the gradient norm is ten times its level before, separated from
    it by more than its scatter, still five times as high at the end, while the loss does not fall.

    Why it matters: steps this long leave the region in which the gradient means anything. What was
    learnt is overwritten, and infinities follow.

    What to do: clip the norm at its healthy level, lower the learning rate, and resume from before the
    growth.

    Silent when: the norm grows during warm-up or while the loss falls, single batches stand out, or the
    norm sits at the clipping limit.
    """
    steps, norm = stage.series("grad_norm")
    if norm.size < LEAST_ROWS:
        return
    level = np.log(np.maximum(norm, 1e-30))
    shift = find_shift(level, 0.02)
    if shift is None or not _grown(shift, level):
        return
    growth, ill = math.exp(min(shift.after - shift.before, 700)), _loss_is_ill(stage)
    early = shift.row < WARM_UP * norm.size
    falls = _loss_fell_after(stage, steps[shift.row])
    if not ill and (early or falls or (falls is None and growth < 3 * GROWN)):
        return
    first, last = int(steps[shift.row]), int(steps[-1])
    before, after = math.exp(min(shift.before, 700)), math.exp(min(shift.after, 700))
    yield Finding(
        "gradient-exploding",
        Severity.CRITICAL if ill and growth >= HUGE else Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "gradient norm after over before", growth, GROWN, "ratio"),
            Number(stage.source, "gradient norm, typical before", before),
        ),
        {"before": before, "after": after, "times": growth, "first_step": first, "last_step": last},
        confidence=0.9 if ill else 0.6,
        actions=("resume-before-onset", "clip-gradients", "lower-learning-rate"),
    )


def _grown(shift: Shift, level_N: FloatArray) -> bool:
    apart = float(np.quantile(shift.after_B, 0.1)) > float(np.quantile(shift.before_B, 0.9))
    end = float(np.median(level_N[-max(5, level_N.size // 50) :]))
    grown = shift.after - shift.before >= math.log(GROWN)
    return grown and apart and end - shift.before >= math.log(STILL_GROWN)


def _loss_is_ill(stage: StageEvidence) -> bool:
    """Whether the loss rises or ends in NaN."""
    bad = stage.kept.not_finite.get("loss")
    return loss_rise(stage) is not None or bool(bad is not None and bad[-20:].any())


def _loss_fell_after(stage: StageEvidence, step: float) -> bool | None:
    """Whether the loss is lower at the end than around a step; None where no loss tells."""
    curve = loss_curve(stage)
    if curve is None:
        return None
    row = int(np.searchsorted(curve.steps, step))
    before = curve.level[max(0, row - max(20, curve.count // 20)) : row]
    return bool(before.size) and curve.last < float(np.median(before)) - LOSS_FALLS


def _loss_falls_since(stage: StageEvidence, step: float) -> bool:
    """Whether the loss went on falling when a change of the gradients was over."""
    curve = loss_curve(stage)
    if curve is None:
        return False
    width = max(20, curve.count // 20)
    row = int(np.searchsorted(curve.steps, step)) + width
    after = curve.level[row : row + width]
    return bool(after.size) and curve.last < float(np.median(after)) - LOSS_FALLS


def gradient_vanishing(stage: StageEvidence) -> Iterator[Finding]:
    """No gradient reaches the parameters.

    Looks for: a gradient norm that fell to a thousandth of its level or less and stays there, or that is
    under 1e-8 over the last tenth of the rows, while the loss still is far from zero.

    Why it matters: weights that get no gradient do not learn. Usually part of the graph is detached, a
    mask hides everything, or numbers underflow.

    What to do: check that the loss depends on the parameters, that no mask is all zero, and the loss
    scale.

    Silent when: the norm falls with the loss, as it does when a model converges.
    """
    steps, norm = stage.series("grad_norm")
    if norm.size < LEAST_ROWS or _converged(stage):
        return
    late = float(np.median(norm[-max(50, norm.size // 10) :]))
    shift = find_shift(np.log(np.maximum(norm, 1e-30)))
    fell = shift is not None and shift.after - shift.before <= math.log(GONE)
    fell = fell and shift is not None and not _loss_falls_since(stage, steps[shift.row])
    if late > NOTHING and not fell:
        return
    onset = shift.row if shift is not None and shift.after - shift.before <= math.log(GONE) else 0
    had = math.exp(shift.before) if onset and shift is not None else late
    first, last = int(steps[onset]), int(steps[-1])
    yield Finding(
        "gradient-vanishing",
        Severity.CRITICAL if late <= NOTHING else Severity.WATCH,
        stage.name,
        first,
        last,
        (Number(stage.source, "gradient norm, median of the last tenth", late, max(NOTHING, GONE * had)),),
        {"level": late, "had": had, "first_step": first, "last_step": last},
        confidence=0.85 if late <= NOTHING else 0.6,
        actions=("check-labels-and-loss",),
    )


def _converged(stage: StageEvidence) -> bool:
    curve = loss_curve(stage)
    return curve is not None and curve.positive and curve.last - curve.first < math.log(CONVERGED)


def gradient_not_finite(stage: StageEvidence) -> Iterator[Finding]:
    """Gradients were infinite or NaN.

    Looks for: gradient norms that are not finite in five rows in succession, in 1 % of all rows, or at
    the end.

    Why it matters: an optimizer that takes such a step destroys every weight at once.

    What to do: refuse steps whose gradient is not finite, look at the batches around the first one,
    compute the loss in higher precision, resume from before it.

    Silent when: only single steps or the first fifty rows are affected: a loss scaler of mixed precision
    finds its scale by such steps and skips them.
    """
    bad = stage.kept.not_finite.get("grad_norm")
    if bad is None or bad.size < 30:
        return
    steps = stage.kept.steps
    bad = np.where(np.arange(bad.size) < SCALER_ROWS, bad & bad[: 2 * SCALER_ROWS].all(), bad)
    runs = _runs(bad)
    if not runs.size:
        return
    longest, count = int(np.diff(runs).max()), int(bad.sum())
    ends = bool(bad[-3:].all())
    if longest <= SCALER_RUN and count < SCALER_SHARE * bad.size and not ends:
        return
    lasting = runs[np.diff(runs)[:, 0] > SCALER_RUN] if longest > SCALER_RUN else runs
    first, last = int(steps[lasting[0, 0]]), int(steps[runs[-1, 1] - 1])
    yield Finding(
        "gradient-not-finite",
        Severity.CRITICAL if ends else Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(
                stage.source, "rows in succession with a gradient that is not finite", longest, SCALER_RUN
            ),
            Number(stage.source, "rows with a gradient that is not finite", count),
        ),
        {"count": count, "longest": longest, "first_step": first, "last_step": last},
        confidence=0.95,
        actions=("resume-before-onset", "check-data", "clip-gradients"),
    )


def _runs(flags_N: BoolArray) -> NDArray[np.int64]:
    """First row and the row after the last of every stretch of true flags [R, 2]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags_N.astype(np.int8), [0]))))
    return edges.reshape(-1, 2)
