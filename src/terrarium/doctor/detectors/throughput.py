"""Speed: does training still go as fast as it went, and is the device at work?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.history import FloatArray
from terrarium.doctor.pace import Pace
from terrarium.doctor.statistics.levels import Shift, find_shift

LEAST_INTERVALS = 150
LEAST_SECONDS = 30.0  # what is slow for less than this is nobody's concern
WARM_BLOCKS = 2  # first blocks, in which things are compiled and caches fill
SPEED_LEFT = 0.8
LASTING = 0.07  # of the run: a shorter time of slowness may pass
LONGEST = 5.0  # times the median: a longer interval is a pause, and counts as much as this
TOGETHER = (
    5  # intervals whose mean is taken before medians are, so that a stutter counts and a pause does not
)
IDLE = 0.3
LESS_AT_WORK = 0.7


def throughput_dropped(stage: StageEvidence) -> Iterator[Finding]:
    """Training has become slower, and stays so.

    Looks for: a change point in the time per step after which four fifths of the former speed or less
    are left, nine tenths of what follows being slower than nine tenths of what came before, up to the
    last row.

    Why it matters: training ends later than planned. An estimate from the whole run's speed is too
    optimistic.

    What to do: look for what else uses the machine, for heat, for a full disk, for a data loader that
    starves the device, for memory that is swapped; plan with the recent speed.

    Silent when: single rows or regular ones are long (validation, checkpoints, pictures), the speed
    recovers, step times were as long before, frames per second stay the same (larger batches), or there
    are under 300 rows.
    """
    pace = Pace.of(stage.history)
    shift = _slowdown(pace)
    if shift is None or _frames_hold(stage, pace, shift):
        return
    before, after = math.exp(-shift.before), math.exp(-shift.after)
    overall, recent = pace.speed(), pace.recent_speed
    first, last = int(pace.from_N[TOGETHER * shift.row]), int(pace.to_N[-1])
    values: dict[str, float | str] = {"before": before, "after": after, "share": after / before}
    values |= {"overall": overall or after, "recent": recent or after, "first_step": first, "last_step": last}
    left = (stage.plan.steps or 0) - last - 1
    if left > 0 and overall and recent:
        values |= {"remaining": left, "planned": last + 1 + left}
        values |= {"hours": left / overall / 3600, "hours_recent": left / recent / 3600}
    yield Finding(
        "throughput-dropped",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (
            Number(stage.source, "speed after over speed before", after / before, SPEED_LEFT, "ratio"),
            Number(stage.source, "speed overall", float(values["overall"]), None, "step/s"),
            Number(stage.source, "speed recently", float(values["recent"]), None, "step/s"),
        ),
        values,
        confidence=0.9 if after < 0.7 * before else 0.75,
        actions=("check-device", "check-loader"),
    )


def _slowdown(pace: Pace) -> Shift | None:
    """The lasting fall of the speed, in logarithms of seconds per step of groups of intervals, or None."""
    if pace.intervals < LEAST_INTERVALS:
        return None
    groups = _grouped(np.minimum(pace.per_step_N, LONGEST * np.median(pace.per_step_N)))
    shift = find_shift(np.log(groups), LASTING)
    if shift is None or shift.before - shift.after > math.log(SPEED_LEFT) or shift.before_B.size < 4:
        return None
    seconds = float(pace.seconds_N[TOGETHER * shift.row :].sum())
    apart = float(np.quantile(shift.after_B, 0.1)) > float(np.quantile(shift.before_B, 0.9))
    news = shift.after > float(shift.before_B[WARM_BLOCKS:].max())
    return shift if apart and news and seconds >= LEAST_SECONDS else None


def _grouped(values_N: FloatArray) -> FloatArray:
    """Means of groups of `TOGETHER` values [N // TOGETHER]; left-over values at the end are dropped."""
    return np.asarray(values_N[: values_N.size // TOGETHER * TOGETHER].reshape(-1, TOGETHER).mean(axis=1))


def _frames_hold(stage: StageEvidence, pace: Pace, shift: Shift) -> bool:
    """Whether as many frames per second are worked on as before: then each step takes more of them."""
    frames = None if stage.history is None else stage.history.column("frames_per_second")
    if frames is None:
        return False
    cut = pace.rows_N[TOGETHER * shift.row]
    before, after = (part[np.isfinite(part)] for part in (frames[:cut], frames[cut:]))
    return bool(before.size and after.size and np.median(after) > 0.9 * np.median(before))


def device_idle(stage: StageEvidence) -> Iterator[Finding]:
    """The device waits most of the time.

    Looks for: a device that is at work for less than 30 % of the time over the last half of at least 100
    rows. Where the speed dropped and the device's use with it, this is worth a look; else it is only
    mentioned.

    Why it matters: time and money go into waiting, usually for data, for the disk, or for another
    process.

    What to do: profile the data loader, add workers, cache what is decoded again and again, or enlarge
    batches.

    Silent when: nothing records the use of the device, or it works more than that.
    """
    steps, use = stage.series("device_use")
    if use.size < 100:
        return
    late = float(np.median(use[use.size // 2 :]))
    shift = find_shift(use)
    slower = any(throughput_dropped(stage))
    eased = shift is not None and slower and shift.after < LESS_AT_WORK * shift.before
    if late >= IDLE and not eased:
        return
    level = shift.after if eased and shift is not None else late
    first, last = int(steps[shift.row if eased and shift is not None else 0]), int(steps[-1])
    yield Finding(
        "device-idle",
        Severity.WATCH if eased else Severity.INFO,
        stage.name,
        first,
        last,
        (Number(stage.source, "share of the time in which the device works", level, IDLE, "ratio"),),
        {"use": level, "first_step": first, "last_step": last}
        | ({"had": shift.before} if eased and shift is not None else {}),
        confidence=0.7,
        actions=("check-loader", "check-device"),
    )
