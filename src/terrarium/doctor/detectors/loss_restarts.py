"""Where a loss jumps at a resume: at a restart of the history or after a long pause of its clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.statistics.blocks import block_medians, spread
from terrarium.doctor.statistics.change import refine_step

LEAST_JUMP = 0.05
LEAST_SCORE = 6.0  # standard deviations of the moves between neighbouring windows elsewhere
MOST_PLACES = 64
PAUSE_SECONDS = 60.0
PAUSE_TIMES = 30.0  # the usual time between rows
FEW_PAUSES = 4
LASTING_ROWS = 40  # a jump that is over sooner is a warm-up of caches and averages
LASTING_SHARE = 0.01


@dataclass(frozen=True)
class Jump:
    """A loss that jumps up at a restart. Levels are on the scale of `LossCurve.level`.

    Attributes:
        row: first row after it.
        known_by: how the restart is known: "step", "runtime" or "pause".
        before: level before.
        after: level after.
        score: the jump in standard deviations of the moves elsewhere.
        rows: for how long at least a quarter of it lasted.
        lasts: whether it lasts to the end.
    """

    row: int
    known_by: str
    before: float
    after: float
    score: float
    rows: int
    lasts: bool


def resumes(stage: StageEvidence, curve: LossCurve) -> dict[int, str]:
    """Row of the curve -> how it is known that training was resumed there."""
    found: dict[int, str] = {}
    clock = curve.history.column("runtime")
    if clock is not None:
        pauses = np.diff(clock[curve.rows], prepend=np.nan)
        usual = float(np.nanmedian(pauses)) if np.isfinite(pauses).any() else math.nan
        limit = max(PAUSE_SECONDS, PAUSE_TIMES * usual) if usual > 0 else math.inf
        long = _unusual(pauses, np.flatnonzero(pauses > limit))
        found |= {int(row): "pause" for row in sorted(long, key=lambda row: -pauses[row])[:MOST_PLACES]}
    for restart in (stage.history or curve.history).restarts[-MOST_PLACES:]:
        found[int(np.searchsorted(curve.steps, restart.step))] = restart.known_by
    return {row: how for row, how in sorted(found.items()) if 0 < row < curve.count}


def _unusual(pauses_N: FloatArray, long_P: NDArray[np.int64]) -> NDArray[np.int64]:
    """The long pauses that are no habit: many of one kind are for evaluation or saving."""
    if long_P.size <= FEW_PAUSES:
        return long_P
    return long_P[pauses_N[long_P] > 3 * np.median(pauses_N[long_P])]


def find_jumps(stage: StageEvidence, curve: LossCurve) -> list[Jump]:
    """The jumps at resumes, in the order of the rows."""
    places = resumes(stage, curve)
    size = int(np.clip(curve.count // 100, 10, 200))
    if not places or curve.count < 6 * size:
        return []
    usual = _usual_move(curve.level, size)
    jumps = (_jump(curve, row, how, size, usual) for row, how in places.items())
    return [jump for jump in jumps if jump is not None]


def _usual_move(level_N: FloatArray, size: int) -> float:
    """What the medians of neighbouring windows differ by without a resume, as a standard deviation."""
    moves = np.diff(block_medians(level_N[level_N.size // 10 :], size).medians)
    return max(spread(moves), float(np.quantile(np.abs(moves), 0.9)) / 1.645, 1e-9)


def _jump(curve: LossCurve, row: int, how: str, size: int, usual: float) -> Jump | None:
    level = curve.level
    if row < size or curve.count - row < size:
        return None
    before, after = float(np.median(level[row - size : row])), float(np.median(level[row : row + size]))
    height = after - before
    if height < LEAST_JUMP or height < LEAST_SCORE * usual or rate_raised(curve, row):
        return None
    low = max(0, row - 2 * size)
    exact = low + refine_step(level[low : row + 2 * size])
    if abs(exact - row) > max(3, size // 4):
        return None  # a rise that merely passes by
    later = block_medians(level[row:], max(5, size // 2))
    over = np.flatnonzero(later.medians <= before + 0.25 * height)
    rows = later.row(int(over[0])) if over.size else curve.count - row
    if rows < max(LASTING_ROWS, LASTING_SHARE * curve.count):
        return None
    return Jump(row, how, before, after, height / usual, rows, not over.size)


def rate_raised(curve: LossCurve, row: int, width: int = 20) -> bool:
    """Whether the learning rate was raised by half or more around a row, as schedules with restarts do."""
    if curve.rate is None:
        return False
    around = [
        curve.rate[max(0, row - 2 * width) : max(0, row - width // 4)],
        curve.rate[row : row + 2 * width],
    ]
    before, after = (part[np.isfinite(part)] for part in around)
    if not before.size or not after.size:
        return False
    return bool(after.max() > 1.5 * max(before[-1], before.min()))


def loss_jump(stage: StageEvidence) -> Iterator[Finding]:
    """The loss jumps up at a resume and comes back slowly, or not at all.

    Looks for: a step up exactly where training was resumed (steps taken again, a clock that starts anew, a
    long pause), far larger than the moves between neighbouring windows elsewhere, that lasts for at least 1 %
    of the run.

    Why it matters: after a complete resume nothing changes. A jump says that something was not restored: the
    optimizer's moments usually, else averaged weights, the scheduler, the normaliser of the data, the order
    of the data.

    What to do: compare what is saved with what is loaded, tensor by tensor; resume again from the checkpoint
    before it.

    Silent when: the loss goes on as before, the jump is within the run's usual moves or over after a few
    rows, the learning rate was raised at the same place, or no resume is known there (a jump elsewhere is
    loss-spike).
    """
    curve = loss_curve(stage)
    jumps = [] if curve is None else find_jumps(stage, curve)
    if curve is None or not jumps:
        return
    jump = max(jumps, key=lambda jump: (jump.lasts, jump.after - jump.before))
    before, after = curve.back(jump.before), curve.back(jump.after)
    fell = curve.back(curve.first) - before
    lost = (after - before) / fell if fell > 0 else math.inf
    end = min(jump.row + jump.rows, curve.count - 1)
    values: dict[str, float | str] = {
        "before": before,
        "after": after,
        "step": curve.step(jump.row),
        "end_step": curve.step(end),
        "steps": curve.step(end) - curve.step(jump.row),
        "jumps": len(jumps),
        "score": jump.score,
    }
    if curve.positive and before > 0:
        values |= {"factor": after / before, "percent": 100 * (after / before - 1)}
    if not jump.lasts:
        values["back_step"] = curve.step(end)
    yield Finding(
        "loss-jump",
        Severity.CRITICAL if jump.lasts and lost >= 0.5 else Severity.WATCH,
        stage.name,
        curve.step(jump.row),
        curve.step(end),
        (Number(stage.source, "jump, in usual moves of the loss", jump.score, LEAST_SCORE),),
        values,
        confidence={"step": 0.95, "runtime": 0.9, "pause": 0.8}[jump.known_by],
        cause="optimizer-state-lost",
        actions=("restore-optimizer-state", "resume-before-onset"),
    )
