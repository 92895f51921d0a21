"""The learning rate itself: is there one, and is it the one that was asked for?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray

LEAST_ROWS = 50
NO_RATE = 1e-10  # nothing learns at this
VANISHED = 1e-6  # of the peak: what a schedule reaches in its last row at the most
TAIL_SHARE, LONG_TAIL = 0.05, 0.2  # of the rows
OTHER = 1.25  # times the rate that was asked for
MOSTLY, GENTLY = 0.3, 0.8  # of the rows above it, from which the rate then fell without a step
BACK_UP = 1.5  # times the rate before a restart
SAME = 0.05


def rates_of(stage: StageEvidence) -> tuple[FloatArray, FloatArray]:
    """Steps and learning rates [N]: as logged, else the planned one throughout."""
    steps, rate = stage.series("learning_rate")
    if rate.size == 0 and stage.plan.learning_rate and stage.kept.rows:
        return stage.kept.steps[[0, -1]], np.full(2, stage.plan.learning_rate)
    return steps, rate


def learning_rate_zero(stage: StageEvidence) -> Iterator[Finding]:
    """Nothing is learnt: the learning rate is zero.

    Looks for: a learning rate of zero, or of less than a millionth of its peak, in every row or over the
    last twentieth of the rows and at least 50 of them.

    Why it matters: every step from there on costs as much as any other and changes nothing.

    What to do: check the schedule: its length against the planned steps, its units (epochs, steps,
    micro-batches), where and how often it is called; then set the rate and read it back from the
    optimizer.

    Silent when: a schedule touches zero at its end, between its cycles, or in the first steps of a
    warm-up.
    """
    steps, rate = stage.series("learning_rate")
    if rate.size == 0 and stage.plan.learning_rate == 0:
        yield _zero(stage, 0.0, 0.0, None, None)
    if rate.size < LEAST_ROWS:
        return
    peak = float(rate.max())
    alive = np.flatnonzero(rate > max(NO_RATE, VANISHED * peak))
    start = int(alive[-1]) + 1 if alive.size else 0
    rows = rate.size - start
    if rows >= LEAST_ROWS and rows >= TAIL_SHARE * rate.size:
        yield _zero(stage, float(rate[-1]), peak, int(steps[start]), int(steps[-1]), rows / rate.size)


def _zero(
    stage: StageEvidence, rate: float, peak: float, first: int | None, last: int | None, share: float = 1.0
) -> Finding:
    values: dict[str, float | str] = {"rate": rate, "share": share, "percent": 100 * share}
    values |= {} if first is None or last is None else {"first_step": first, "last_step": last}
    values |= {"peak": peak, "suggested_rate": peak} if share < 1 and peak > 0 else {}
    planned = stage.plan.steps
    if planned and last is not None and last + 1 < planned:
        values |= {"planned": planned, "remaining": planned - last - 1}
    return Finding(
        "learning-rate-zero",
        Severity.CRITICAL if share >= LONG_TAIL else Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(
                stage.source if first is not None else stage.plan.source,
                "learning rate, last",
                rate,
                max(NO_RATE, VANISHED * peak),
            ),
            Number(stage.source, "share of the rows without a learning rate", share, TAIL_SHARE, "ratio"),
        ),
        values,
        confidence=0.97,
        actions=("raise-learning-rate", "check-effective-rate"),
    )


def learning_rate_not_applied(stage: StageEvidence) -> Iterator[Finding]:
    """The learning rate in effect is not the one that was asked for.

    Looks for: a logged rate that at the end is a quarter above the configured peak, or that never came
    within a quarter of it; and, at a restart, a rate that had fallen and is back at its old peak.

    Why it matters: a remedy that is not applied cures nothing. A scheduler's saved state puts the old
    rate back when it is loaded, whatever the configuration says by now.

    What to do: after loading the state, set the rate in the scheduler's `base_lrs` and in every
    parameter group; log the rate that is read back from the optimizer, and compare.

    Silent when: nothing says what was asked for, the warm-up is not over, or the rate only follows its
    schedule down.
    """
    steps, rate = stage.series("learning_rate")
    if rate.size < 20:
        return
    asked = stage.plan.learning_rate
    if asked and asked > 0:
        now = float(np.median(rate[-10:]))
        if now > OTHER * asked:
            yield _not_applied(stage, now, asked, _since(steps, rate, OTHER * asked))
            return
        over = np.flatnonzero(rate > OTHER * asked)
        if over.size >= MOSTLY * rate.size and rate[over[-1] + 1] >= GENTLY * rate[over[-1]]:
            yield _not_applied(stage, float(rate.max()), asked, int(steps[over[0]]))
            return
        peak = float(rate.max())
        if 0 < peak < asked / OTHER and _had_its_peak(stage, steps, rate):
            yield _not_applied(stage, peak, asked, int(steps[0]))
            return
    yield from _came_back(stage)


def _since(steps_N: FloatArray, rate_N: FloatArray, limit: float) -> int:
    """The step from which on the rate is above a limit to the end."""
    below = np.flatnonzero(rate_N <= limit)
    return int(steps_N[min(int(below[-1]) + 1, steps_N.size - 1) if below.size else 0])


def _had_its_peak(stage: StageEvidence, steps: FloatArray, rate: FloatArray) -> bool:
    """Whether the history holds the peak of the schedule: from the start until the rate rises no more."""
    from_start = steps[0] <= max(10.0, 0.02 * steps[-1])
    rising = float(rate[-1]) >= 0.999 * float(rate.max()) > 1.01 * float(rate[0])
    flat = float(rate.max()) <= 1.001 * float(rate[rate.size // 2])
    warm = stage.plan.warmup_steps is None or steps[-1] > 2 * stage.plan.warmup_steps
    return bool(from_start and warm and (flat or not rising) and rate.size >= LEAST_ROWS)


def _not_applied(stage: StageEvidence, rate: float, asked: float, first: int) -> Finding:
    last = int(stage.kept.steps[-1])
    return Finding(
        "learning-rate-not-applied",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "learning rate in effect", rate, asked),
            Number(stage.plan.source or stage.source, "learning rate asked for", asked),
        ),
        {"rate": rate, "asked": asked, "times": rate / asked, "first_step": first, "last_step": last},
        confidence=0.85,
        actions=("check-effective-rate",),
    )


def _came_back(stage: StageEvidence) -> Iterator[Finding]:
    """A rate that had fallen and, since a restart, is at its old peak again."""
    history = stage.history
    rate = None if history is None else history.column("learning_rate")
    if history is None or rate is None:
        return
    rows = np.flatnonzero(np.isfinite(rate))
    for restart in history.restarts:
        place = int(np.searchsorted(rows, restart.row))
        if place < 10 or place >= rows.size - 10:
            continue
        earlier = rows[:place][history.steps[rows[:place]] <= restart.step]
        before = float(rate[earlier[-1]]) if earlier.size else math.nan
        after = float(rate[rows[place]])
        peak = float(rate[rows[:place]].max())
        if after > BACK_UP * before > 0 and abs(after - peak) <= SAME * peak:
            found = _not_applied(stage, after, before, restart.step)
            yield Finding(**{**vars(found), "cause": "schedule-started-over", "confidence": 0.6})
            return
