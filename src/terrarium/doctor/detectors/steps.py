"""The rows themselves: steps that occur twice or not at all, and lines that could not be read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray, History

FEW_ROWS, FEW_SHARE = 10, 0.04  # fewer rows than the more of both: what a resume from a checkpoint costs
ONCE_ROWS, ONCE_SHARE = 50, 0.1  # rows without a repeat, after which repeats are no habit of logging
MANY_RETURNS = 20  # a run resumes a few times; two writers go back and forth
GAP_TIMES = 10.0  # the usual distance between rows
GAP_SHARE = 0.005  # of the run's steps


def steps_repeated(stage: StageEvidence) -> Iterator[Finding]:
    """Steps were logged twice.

    Looks for: rows of a step that an earlier row has already, with a loss of their own. A few returns to
    earlier steps are resumes from a checkpoint; going back and forth all the time are two writers of one
    file.

    Why it matters: every curve, mean and window counts these steps twice, and what was trained between
    the checkpoint and the crash was thrown away. With two writers, two trainings destroy each other's
    results.

    What to do: after a resume, judge the later rows only (this report does). Make sure that one launcher
    at a time writes to a run, and resume from the newest whole checkpoint.

    Silent when: rows that a resume took back were removed (ours are), several rows of a step carry
    different columns, or each micro-batch has its row.
    """
    history = stage.history
    if history is None or history.rows < 2:
        return
    steps = _steps_with_loss(history)
    repeats = _repeated_rows(steps)
    if not repeats.any():
        return
    count, first, last = int(repeats.sum()), int(steps[repeats].min()), int(steps[repeats].max())
    returns = int(np.count_nonzero(np.diff(steps) < 0))
    two_writers = returns >= MANY_RETURNS and returns > 0.1 * count
    if returns == 0 and not (_clock_goes_back(history) or _begins_late(repeats)):
        return
    few = count < max(FEW_ROWS, FEW_SHARE * steps.size)
    yield Finding(
        "steps-repeated",
        Severity.INFO if few else Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "rows that repeat a step", float(count), 0.0),
            Number(stage.source, "returns to an earlier step", float(returns), None),
        ),
        {"repeated": count, "returns": returns, "share": count / steps.size}
        | {"first_step": first, "last_step": last},
        confidence=0.95,
        cause="two-writers" if two_writers else "resumed-from-an-earlier-step" if returns else "",
        actions=("run-one-launcher",) if two_writers else (),
    )


def _begins_late(repeats_N: np.ndarray) -> bool:
    """Whether rows came once for a good while before they came twice: micro-batches come in every step."""
    begun = int(np.argmax(repeats_N))
    return begun >= max(ONCE_ROWS, ONCE_SHARE * repeats_N.size)


def _steps_with_loss(history: History) -> FloatArray:
    """Steps of the rows that have a loss, finite or not; of all rows where no column is a loss."""
    loss = history.column("loss")
    if loss is None:
        return history.steps
    there = np.isfinite(loss)
    if "loss" in history.not_finite:
        there |= history.not_finite["loss"]
    return history.steps[there]


def _repeated_rows(steps_N: FloatArray) -> np.ndarray:
    """Which rows have a step that an earlier row has [N]."""
    order = np.argsort(steps_N, kind="stable")
    repeats = np.zeros(steps_N.size, dtype=np.bool_)
    repeats[order[1:]] = np.diff(steps_N[order]) == 0
    return repeats


def _clock_goes_back(history: History) -> bool:
    """Whether rows of the same step were written by different clocks: micro-batches have one."""
    clock = history.column("runtime")
    return clock is not None and bool(np.count_nonzero(np.diff(clock[np.isfinite(clock)]) < 0) >= FEW_ROWS)


def steps_missing(stage: StageEvidence) -> Iterator[Finding]:
    """The history has gaps.

    Looks for: distances between neighbouring steps of more than ten times the usual one, three times
    nearly all others, and half a per cent of the run; and a first row far from step 0.

    Why it matters: what happened there is not in the report. It says nothing about the training itself.

    What to do: export the whole history if there is more of it; else nothing.

    Silent when: rows are far apart everywhere, sampled at random, or the logging interval was changed.
    """
    if stage.history is None or stage.history.rows < 20:
        return
    steps = np.unique(stage.history.steps)
    apart = np.diff(steps)
    if apart.size < 10:
        return
    usual, span = float(np.median(apart)), float(steps[-1] - steps[0])
    limit = max(GAP_TIMES * usual, GAP_SHARE * span, 3 * float(np.quantile(apart, 0.99)))
    gaps = np.flatnonzero(apart > limit)
    late_start = steps[0] > max(GAP_TIMES * usual, 0.01 * float(steps[-1]))
    if not gaps.size and not late_start:
        return
    lost = float((apart[gaps] - usual).sum()) + (float(steps[0]) if late_start else 0.0)
    first = 0 if late_start else int(steps[gaps[0]])
    last = int(steps[gaps[-1] + 1]) if gaps.size else int(steps[0])
    yield Finding(
        "steps-missing",
        Severity.INFO,
        stage.name,
        first,
        last,
        (Number(stage.source, "steps without a row where one was due", lost, limit),),
        {"missing": lost, "gaps": int(gaps.size) + int(late_start), "usual": usual}
        | {"first_step": first, "last_step": last},
        confidence=0.9,
        actions=("log-more",),
    )


def rows_damaged(stage: StageEvidence) -> Iterator[Finding]:
    """Part of the history could not be read.

    Looks for: lines, records or bytes of the history that are no rows.

    Why it matters: what they said is not in the report; a file that is damaged in one place may be
    damaged in others, and a disk that damages one file damages more.

    What to do: nothing, where a kill tore the last line; else check the disk and whatever writes the file.

    Silent when: every line could be read.
    """
    history = stage.history
    if history is None or not (history.damaged or history.lost_bytes):
        return
    yield Finding(
        "rows-damaged",
        Severity.INFO,
        stage.name,
        evidence=(
            Number(stage.source, "lines or records that could not be read", float(history.damaged), 0.0),
            Number(stage.source, "bytes passed over", float(history.lost_bytes), None, "bytes"),
        ),
        values={"damaged": history.damaged, "rows": history.rows, "lost_bytes": history.lost_bytes},
        confidence=1.0,
    )
