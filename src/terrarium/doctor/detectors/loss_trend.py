"""Losses that rise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from terrarium.doctor.detectors.loss_chance import chance
from terrarium.doctor.detectors.loss_curve import LossCurve, loss_curve
from terrarium.doctor.detectors.loss_rise import LEAST_RISE, LEAST_TREND, Rise, Way, loss_rise
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity

FAR = math.log(1.5)  # a slow rise that has gone this far, and lost half of what was learnt, is critical


def loss_diverging(stage: StageEvidence) -> Iterator[Finding]:
    """The loss rises far above its best level and does not come back.

    Looks for: a level of the last rows far above the best one, beyond what the run's own noise can do: above
    where training began, or twice the best level and more, or rising so fast that much of what had been
    learnt is gone. The onset is where a curve of block medians, flat or falling before and rising after, fits
    best.

    Why it matters: a run that diverges does not recover by itself. Every further step costs time, and every
    further checkpoint replaces a better one.

    What to do: stop, keep the last checkpoint from before the onset, and find out what changed there. If
    nothing did, lower the learning rate, and read the effective rate back after resuming: a restored
    scheduler may put the old one back.

    Silent when: the loss has come back (a bump, a spike), rises slowly (loss-drifting-up), moves to a new
    level at once and stays there (loss-spike, or loss-jump at a resume), warm-up is not over, or the rows are
    too few to tell.
    """
    rise, curve = loss_rise(stage), loss_curve(stage)
    if curve is None or rise is None or rise.way is not Way.DIVERGING:
        return
    yield Finding(
        "loss-diverging",
        Severity.CRITICAL,
        stage.name,
        curve.step(rise.row),
        curve.step(curve.count - 1),
        (_last_level(curve, rise), Number(stage.source, "rise, in standard errors", rise.score, 6.0)),
        rise_values(curve, rise),
        rise_confidence(rise),
        actions=("resume-before-onset", "check-effective-rate", "clip-gradients"),
    )


def loss_drifting_up(stage: StageEvidence) -> Iterator[Finding]:
    """The loss creeps up.

    Looks for: block medians that have risen by at least 5 % since the best level, over at least 15 % of the
    run: Mann-Kendall's score with autocorrelation taken into account, the lower end of Theil-Sen's interval
    above zero, and a rise of several standard errors. It becomes critical when half of what had been learnt
    is gone, or guessing would do as well.

    Why it matters: a slow rise looks like noise from day to day, and is a lost run after a week.

    What to do: compare with the validation loss and the learning rate over the same steps; resume from before
    the onset with a lower rate; look for data that changed with time.

    Silent when: the rise is within the noise, is young, follows a raised learning rate, or comes back; a fast
    or tall rise is loss-diverging, a sudden one loss-spike or loss-jump.
    """
    rise, curve = loss_rise(stage), loss_curve(stage)
    if curve is None or rise is None or rise.way is not Way.DRIFTING:
        return
    guess = chance(curve)
    above = guess is not None and curve.back(rise.last) * guess.factor > guess.level
    far = rise.lost >= 0.5 and rise.height >= FAR
    yield Finding(
        "loss-drifting-up",
        Severity.CRITICAL if above or far else Severity.WATCH,
        stage.name,
        curve.step(rise.row),
        curve.step(curve.count - 1),
        (
            Number(stage.source, "rise since the best level", rise.height, LEAST_RISE, "ratio"),
            Number(stage.source, "Mann-Kendall score of block medians", rise.trend, LEAST_TREND),
            Number(stage.source, "Theil-Sen slope per row, low end", rise.steepness, 0.0),
        ),
        rise_values(curve, rise),
        rise_confidence(rise),
        actions=("look-again", "check-effective-rate", "resume-before-onset"),
    )


def _last_level(curve: LossCurve, rise: Rise) -> Number:
    least = max(LEAST_RISE, 6.0 * rise.height / rise.score)
    return Number(
        curve.file, "loss, median of the last rows", curve.back(rise.last), curve.back(rise.low + least)
    )


def rise_values(curve: LossCurve, rise: Rise) -> dict[str, float | str]:
    """What the sentences of a rise mention."""
    low, last = curve.back(rise.low), curve.back(rise.last)
    values: dict[str, float | str] = {
        "low": low,
        "low_step": curve.step(rise.row),
        "last": last,
        "last_step": curve.step(curve.count - 1),
        "first": curve.back(curve.first),
        "first_step": curve.step(0),
        "peak": curve.back(rise.peak),
        "steps": curve.step(curve.count - 1) - curve.step(rise.row),
        "score": rise.score,
        "noise": 100 * curve.noise,
    }
    if curve.positive and low > 0:
        values |= {"factor": last / low, "percent": 100 * (last / low - 1)}
    if 0 < rise.lost < math.inf:
        values["lost_percent"] = min(100 * rise.lost, 1e6)
    return values


def rise_confidence(rise: Rise) -> float:
    """From 0.6 at the threshold to 0.97 far above it."""
    return 0.97 - 0.37 * math.exp(-max(0.0, rise.score - 6) / 10)
