"""Losses that measure nothing: not finite, or always the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import BoolArray, FloatArray, History

ENDING = 20  # logged rows at the end; if half of them are not finite, the loss has not recovered
ENDING_IN_A_ROW = 3
LEAST_BEFORE = 30  # rows with a loss, before a blank can mean anything
LEAST_BLANK, LONGER_BLANK = 20, 10  # rows without one at the end; times the longest earlier gap
SAME = 1e-6  # of the loss: float32 resolves 1.2e-7, and two batches never agree to this
LEAST_SAME = 50  # rows
LEAST_SAME_SHARE = 0.05
LEAST_NOISE = 1e-3  # that a loss had before it froze


def loss_not_finite(stage: StageEvidence) -> Iterator[Finding]:
    """The loss is NaN or infinite.

    Looks for: rows whose logged loss is NaN or infinite. If the last rows are, the run is lost from the first
    of them on (critical); rows after which the loss is finite again are worth a look (watch). A loss that was
    in every row, and is blank in all of the last ones while the other columns go on, counts too: many tables
    write NaN as a blank.

    Why it matters: one update with a gradient that is not finite destroys every weight that it touches, and
    nothing that is trained afterwards repairs it. Mixed-precision training may skip such a step, and then
    the loss goes on as before.

    What to do: stop before anything else is saved, resume from a checkpoint that was saved before the first
    such row, and find out what made it: a learning rate that is too high, a division by zero, a logarithm
    of zero, a damaged batch.

    Silent when: every logged loss is finite. Other rows without a loss are not counted.
    """
    history = stage.kept
    loss = history.column("loss")
    finite = np.zeros(history.rows, bool) if loss is None else np.isfinite(loss)
    left_blank = _blank_ending(history, finite)
    bad = history.not_finite.get("loss", np.zeros(history.rows, bool)) | left_blank
    if not bad.any():
        return
    logged = np.flatnonzero(bad | finite)
    wrong = bad[logged]
    steps = history.steps[logged]
    stays = _stays(wrong)
    first = _start_of_ending(wrong) if stays else int(np.argmax(wrong))
    count = int(np.count_nonzero(wrong))
    last = int(np.flatnonzero(wrong)[-1])
    values: dict[str, float | str] = {
        "rows": count,
        "logged": logged.size,
        "step": int(steps[first]),
        "last_step": int(steps[last]),
        "from_step": int(steps[np.argmax(wrong)]),
    }
    if not stays:
        values["recovered_step"] = int(steps[min(last + 1, steps.size - 1)])
    yield Finding(
        "loss-not-finite",
        Severity.CRITICAL if stays else Severity.WATCH,
        stage.name,
        int(steps[first]),
        int(steps[last]),
        (Number(stage.source, "rows with a loss that is not finite", count, 0.0),),
        values,
        confidence=0.75 if left_blank.any() else 0.99 if stays else 0.9,
        actions=("resume-before-onset", "clip-gradients", "check-data") if stays else ("check-data",),
    )


def _blank_ending(history: History, finite_N: BoolArray) -> BoolArray:
    """Rows at the end in which other columns go on and the loss is a blank, as tables write NaN [N].

    Only where the loss was logged so regularly before that its absence means something.
    """
    blank = np.zeros(history.rows, bool)
    there = np.flatnonzero(finite_N)
    if there.size < LEAST_BEFORE:
        return blank
    longest = int(np.diff(there).max())
    ending = history.rows - 1 - int(there[-1])
    if ending < max(LEAST_BLANK, LONGER_BLANK * longest):
        return blank
    blank[there[-1] + 1 :] = _beside(history, finite_N)[there[-1] + 1 :]
    return blank if np.count_nonzero(blank) >= max(LEAST_BLANK, 0.8 * ending / longest) else blank & False


def _beside(history: History, finite_N: BoolArray) -> BoolArray:
    """Rows that hold what was logged along with nearly every loss [N]; none where nothing was."""
    rows = np.zeros(history.rows, bool)
    for name, values in history.columns.items():
        there = np.isfinite(values)
        if name != "step" and np.count_nonzero(there & finite_N) >= 0.9 * np.count_nonzero(finite_N):
            rows |= there
    return rows


def _stays(wrong_N: BoolArray) -> bool:
    ending = wrong_N[-ENDING:]
    return bool(wrong_N[-ENDING_IN_A_ROW:].all() or ending.mean() > 0.5)


def _start_of_ending(wrong_N: BoolArray) -> int:
    """First row of the stretch of bad rows that reaches the end; a few finite ones may lie in between."""
    good = np.flatnonzero(~wrong_N)
    for start in np.append(good[::-1] + 1, 0)[:ENDING]:
        if start < wrong_N.size and wrong_N[start] and wrong_N[start:].mean() > 0.5:
            earlier = np.flatnonzero(~wrong_N[:start])
            if not earlier.size or start - earlier[-1] > 0:
                return int(start)
    return int(np.argmax(wrong_N))


def loss_constant(stage: StageEvidence) -> Iterator[Finding]:
    """The loss is the same in every row.

    Looks for: a loss whose values agree to a millionth over the whole run, or over its last rows although it
    had the usual noise before.

    Why it matters: two batches never give the same loss. The number that is logged is not computed from the
    batch: the graph is detached, the mask selects nothing, the same tensor is logged again and again, or
    inputs have become constant.

    What to do: print the loss, the targets and the mask of two batches; check that the loss depends on the
    model (that gradients are not all zero) and that the data move on.

    Silent when: there are fewer than 50 rows, or the log rounds so coarsely that values repeat anyway, or a
    value is merely carried forward between the rows at which it was measured.
    """
    curve = loss_curve(stage)
    row = None if curve is None else constant_from(curve)
    if curve is None or row is None:
        return
    same = float(curve.loss[-1])
    spread = float(np.ptp(curve.loss[row:]))
    rows = curve.count - row
    yield Finding(
        "loss-constant",
        Severity.CRITICAL,
        stage.name,
        curve.step(row),
        curve.step(curve.count - 1),
        (Number(stage.source, "range of the loss", spread, SAME * abs(same)),),
        {
            "loss": same,
            "range": spread,
            "rows": rows,
            "step": curve.step(row),
            "last_step": curve.step(curve.count - 1),
        },
        confidence=0.95,
        cause="" if row == 0 else "loss-froze",
        actions=("check-labels-and-loss", "check-data"),
    )


def constant_from(curve: LossCurve) -> int | None:
    """The row from which the loss is constant to the end, or None where it is not."""
    loss = curve.loss
    differs = np.abs(loss - loss[-1]) > SAME * abs(loss[-1])
    row = int(np.flatnonzero(differs)[-1]) + 1 if differs.any() else 0
    rows = curve.count - row
    if rows < max(LEAST_SAME, LEAST_SAME_SHARE * curve.count):
        return None
    if row == 0:
        return 0
    before = loss[:row]
    carried = _longest_repeat(before) * 3 > rows
    return None if carried or _coarse(before, abs(float(loss[-1]))) else row


def _longest_repeat(values_N: FloatArray) -> int:
    changes: NDArray[np.int64] = np.flatnonzero(np.diff(values_N) != 0)
    return int(np.diff(np.concatenate(([-1], changes, [values_N.size - 1]))).max())


def _coarse(values_N: FloatArray, level: float) -> bool:
    """Whether values before were rounded, or moved, by so little or so much that repeating means nothing."""
    apart = np.diff(np.unique(values_N))
    finest = float(apart.min()) if apart.size else 0.0
    lively = np.median(np.abs(np.diff(values_N[-500:]))) >= LEAST_NOISE * level
    return finest > 0.01 * level or not lively
