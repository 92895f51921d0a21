"""Progress: did training stand still, does it now, and did it reach its end?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.pace import Pace

LEAST_INTERVALS = 30
LONG_SECONDS = 1800.0
LONG_TIMES = 60.0  # the usual time between rows
LONG_SHARE = 0.01  # of the whole run's time
ALIKE = 3.0  # times as long or as short at the most: pauses of one kind
UNEVEN = 0.25  # distances of regular pauses vary by less than this share of their mean
FEW, UNEVEN_FEW = 5, 0.1
UNEVEN_PAIR = 0.05  # of two pauses, where chance alone is even easily
LIVE_SECONDS = 90.0
LIVE_TIMES = 6.0
SURELY_GONE = ("lock-free", "no-process")


def run_stalled(evidence: Evidence) -> Iterator[Finding]:
    """Training stood still, or stands still now.

    Looks for: two rows with half an hour or more between them, which is also 60 times the usual time and
    1 % of the whole; and, while a process is alive, no new row for longer than 90 seconds, six times the
    usual time, and twice the longest ordinary pause. Progress is steps, not a living process.

    Why it matters: a loader that hangs or a device that is lost holds the machine and trains nothing.

    What to do: look at what the process waits for (py-spy dump, nvidia-smi, the system's log); if it
    does not come back, restart from the newest whole checkpoint.

    Silent when: pauses come regularly (validation, pictures, checkpoints), lie at a restart, or the history
    has no clock. A history can't tell whether the machine was asleep.
    """
    for stage in evidence.stages.values():
        yield from _stood_still(stage)
    current = _current(evidence)
    if current is not None:
        yield from _stands_still(current, evidence)


def _stood_still(stage: StageEvidence) -> Iterator[Finding]:
    pace = Pace.of(stage.history)
    stalls = _stalls(pace)
    if not stalls.size:
        return
    longest = int(stalls[np.argmax(pace.seconds_N[stalls])])
    seconds, limit = float(pace.seconds_N[longest]), LONG_TIMES * pace.typical_gap
    first, last = int(pace.from_N[stalls[0]]), int(pace.to_N[stalls[-1]])
    yield Finding(
        "run-stalled",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (Number(stage.source, "longest time without a row", seconds, max(LONG_SECONDS, limit), "s"),),
        {"hours": seconds / 3600, "times": seconds / pace.typical_gap, "stalls": int(stalls.size)}
        | {"first_step": first, "last_step": last, "total_hours": float(pace.seconds_N[stalls].sum()) / 3600},
        confidence=0.8,
        actions=("check-loader", "check-device"),
    )


def _stalls(pace: Pace) -> NDArray[np.int64]:
    """The intervals [S] that are far too long and don't come regularly."""
    if pace.intervals < LEAST_INTERVALS:
        return np.zeros(0, np.int64)
    total = float(pace.seconds_N.sum())
    limit = max(LONG_SECONDS, LONG_TIMES * pace.typical_gap, LONG_SHARE * total)
    long = np.flatnonzero(pace.seconds_N >= limit)[:1000]
    return np.array([place for place in long if not _regular(pace, int(place))], dtype=np.int64)


def _regular(pace: Pace, place: int) -> bool:
    """Whether pauses of this kind come at regular distances, counted from the beginning."""
    times_N = pace.seconds_N / pace.seconds_N[place]
    alike = np.flatnonzero((times_N >= 1 / ALIKE) & (times_N <= ALIKE))
    apart = np.diff(pace.to_N[alike], prepend=pace.from_N[0])
    uneven = UNEVEN if alike.size > FEW else UNEVEN_FEW if alike.size > 2 else UNEVEN_PAIR
    return bool(alike.size >= 2 and apart.std() <= uneven * apart.mean())


def _current(evidence: Evidence) -> StageEvidence | None:
    """The stage that trains or trained last, unless it reached its end."""
    begun = [stage for stage in evidence.stages.values() if stage.history is not None and stage.history.rows]
    if not begun:
        return None
    last, planned = begun[-1], begun[-1].plan.steps
    return None if planned and last.kept.steps[-1] >= planned - 1 else last


def _stands_still(stage: StageEvidence, evidence: Evidence) -> Iterator[Finding]:
    idle = evidence.liveness.idle_seconds
    pace = Pace.of(stage.history)
    if not evidence.liveness.alive or idle is None or pace.intervals < LEAST_INTERVALS:
        return
    ordinary = np.delete(pace.seconds_N, _stalls(pace))
    limit = max(LIVE_SECONDS, LIVE_TIMES * pace.typical_gap, 2 * float(ordinary.max(initial=0.0)))
    if idle <= limit:
        return
    last = int(stage.kept.steps[-1])
    yield Finding(
        "run-stalled",
        Severity.CRITICAL,
        stage.name,
        last,
        last,
        (Number(stage.source, "time since the last row, process alive", idle, limit, "s"),),
        {"idle_minutes": idle / 60, "limit_minutes": limit / 60, "times": idle / pace.typical_gap}
        | {"first_step": last, "last_step": last},
        confidence=0.85,
        actions=("check-loader", "check-device", "restart-from-checkpoint"),
    )


def run_unfinished(evidence: Evidence) -> Iterator[Finding]:
    """The process ended before the planned end.

    Looks for: fewer steps than planned in the stage that was trained last, and no process that goes on
    with it.

    Why it matters: nobody is training any more, whatever the last loss looks like.

    What to do: find out why it ended (the system's log, memory, a time limit; or a gate, which says why),
    then resume from the newest whole checkpoint. Where that holds the very last step, the run was probably
    asked to stop and saved as it left: then just resume.

    Silent when: a process is alive, nothing says how many steps were planned, or it can't be told
    whether anything runs. Where only the age of the rows suggests the end, it is just information.
    """
    stage, liveness = _current(evidence), evidence.liveness
    if stage is None or liveness.alive is not False or not stage.plan.steps:
        return
    last, planned = int(stage.kept.steps[-1]), stage.plan.steps
    if last + 1 >= 0.99 * planned:
        return
    values: dict[str, float | str] = {"taken": last + 1, "planned": planned, "share": (last + 1) / planned}
    values |= _stopped_itself(stage) or _saved_last(stage)
    yield Finding(
        "run-unfinished",
        Severity.WATCH if liveness.how in SURELY_GONE else Severity.INFO,
        stage.name,
        last,
        last,
        (Number(stage.plan.source or stage.source, "steps taken", last + 1, planned),),
        values,
        confidence=0.9 if liveness.how in SURELY_GONE else 0.6,
        actions=("restart-from-checkpoint",) if stage.usable else (),
    )


def _stopped_itself(stage: StageEvidence) -> dict[str, int]:
    """The step at which training decided to stop, where that was the last that came of it."""
    made = stage.decisions.made if stage.decisions else ()
    if not made or made[-1].what != "stop" or made[-1].step is None:
        return {}
    return {"gate_step": made[-1].step} if made[-1].step > stage.kept.steps[-1] else {}


def _saved_last(stage: StageEvidence) -> dict[str, str]:
    """The checkpoint of the very last step, which a run leaves when it is asked to stop."""
    after = int(stage.kept.steps[-1]) + 1
    names = [checkpoint.name for checkpoint in stage.usable if checkpoint.step == after]
    return {"saved": names[0]} if names else {}
