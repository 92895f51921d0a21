"""What is drawn of a run: curves of training with the findings marked by number, and curves of the scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.drawing import Axis, Chart
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.scores import Rollout

Say = Callable[..., str]

MOST_BLOCKS, FEWEST_BLOCKS, ROWS_PER_BLOCK = 120, 30, 20
RAW_BINS = 400
LOG_FROM_RATIO = 8.0
MOST_MARKS = 5
FREAK_RATIO = 4.0  # a linear axis ends at this many times the usual: one outlier must not flatten the rest


@dataclass(frozen=True)
class Plot:
    """One plot of the page.

    Attributes:
        title: what is drawn.
        svg: the drawing, safe to put into the page as it is.
        legend: (class, name) of each line.
        note: a remark below, or "".
    """

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Mark:
    """A finding as it is marked in a plot.

    Attributes:
        label: its number on the page.
        first_step: where it began.
        last_step: where it ended, or the last step seen.
        severity: "info", "watch" or "critical".
    """

    label: str
    first_step: float
    last_step: float
    severity: str


def blocks(steps: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Medians of consecutive blocks of rows: (middle step [B], median [B]), B <= 120; NaN is left out."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    most = min(MOST_BLOCKS, max(FEWEST_BLOCKS, values.size // ROWS_PER_BLOCK))
    if values.size <= most:
        return steps, values
    size = -(-values.size // most)
    edges = np.arange(0, values.size, size)
    medians = [float(np.median(values[start : start + size])) for start in edges]
    middles = [float(np.median(steps[start : start + size])) for start in edges]
    return np.array(middles), np.array(medians)


def outline(steps: FloatArray, values: FloatArray, bins: int = RAW_BINS) -> tuple[FloatArray, FloatArray]:
    """The raw curve in few points: lowest and highest value of each bin of rows, so no spike is lost."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if values.size <= 2 * bins:
        return steps, values
    size = -(-values.size // bins)
    starts = np.arange(0, values.size, size)
    lows, highs = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return np.repeat(steps[starts], 2), np.stack([lows, highs], axis=1).ravel()


def speeds(steps: FloatArray, runtime: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Steps per second over consecutive stretches of rows: (middle step [S], speed [S]), pauses included."""
    timed = np.isfinite(runtime)
    steps, runtime = steps[timed], runtime[timed]
    edges = np.unique(np.linspace(0, max(steps.size - 1, 0), MOST_BLOCKS + 1).astype(int))
    if steps.size < 2:
        return np.zeros(0), np.zeros(0)
    taken, passed = np.diff(steps[edges]), np.diff(runtime[edges])
    forward = (taken > 0) & (passed > 0)
    middles = (steps[edges][1:] + steps[edges][:-1]) / 2
    return middles[forward], taken[forward] / passed[forward]


def loss_plot(
    steps: FloatArray,
    loss: FloatArray,
    say: Say,
    *,
    chance: dict[str, float] | None = None,
    windows: Sequence[tuple[float, float, float]] = (),
    bad_steps: FloatArray | None = None,
    validation: tuple[FloatArray, FloatArray] | None = None,
    marks: Sequence[Mark] = (),
) -> Plot:
    """Loss: raw light, block medians bold, window means as steps, chance dashed, findings as bars above.

    Args:
        steps: step of each row [rows].
        loss: loss of each row [rows], NaN where there is none.
        say: gives the sentences of the page's language.
        chance: name -> loss that guessing reaches.
        windows: (first step, last step, mean loss) of each window.
        bad_steps: steps [N] whose loss was not finite.
        validation: (steps [V], loss [V]) of the validation, if there was one.
        marks: findings to be marked, most important first.
    """
    log = pays_to_be_logarithmic(loss)
    low, high = _range(loss, log)
    if validation is not None:
        low, high = min(low, float(validation[1].min())), max(high, _range(validation[1], log)[1])
    reach = high - low
    levels = {
        name: level
        for name, level in (chance or {}).items()
        if low - reach <= level <= high + reach and (level > 0 or not log)
    }
    ends = [low, high, *levels.values()]
    log = log and min(ends) > 0
    chart = _chart(steps, min(ends), max(ends), say("plots", "step"), log, marks)
    chart.line(*outline(steps, loss), "line raw a")
    chart.line(*blocks(steps, loss), "line a")
    for first, last, mean in windows:
        chart.line([first, last], [mean, mean], "window")
    if validation is not None:
        chart.line(*blocks(*validation), "line c")
    for level in levels.values():
        chart.level(level, "line b dashed")
    if bad_steps is not None and bad_steps.size:
        chart.notches(bad_steps, "notch")
    legend = [("raw a", say("plots", "raw")), ("a", say("plots", "median"))]
    legend += [("window", say("plots", "windows"))] if windows else []
    legend += [("c", say("plots", "validation"))] if validation is not None else []
    legend += [("b dashed", say("plots", "chance", name=name, level=level)) for name, level in levels.items()]
    legend += [("notch", say("plots", "not_finite"))] if bad_steps is not None and bad_steps.size else []
    note = say("plots", "log") if log else ""
    return Plot(say("plots", "loss"), chart.svg(), tuple(legend), note)


def curve_plot(
    title: str, steps: FloatArray, values: FloatArray, colour: str, say: Say, marks: Sequence[Mark] = ()
) -> Plot:
    """One measure over the steps: raw light, block medians bold.

    Args:
        title: what is drawn (it goes into the page, not into the drawing).
        steps: step of each row [rows].
        values: value of each row [rows], NaN where there is none.
        colour: "a", "b" or "c".
        say: gives the sentences of the page's language.
        marks: findings to be marked.
    """
    middles, medians = blocks(steps, values)
    low, high = _range(values, False)
    usual = max(float(np.nanpercentile(values, 99)) if medians.size > 10 else high, float(medians.max()))
    if low >= 0:
        low, high = 0.0, usual * 1.08 or 1.0
    chart = _chart(steps, low, high, say("plots", "step"), False, marks)
    if np.count_nonzero(np.isfinite(values)) > medians.size:
        chart.line(*outline(steps, values), f"line raw {colour}")
    chart.line(middles, medians, f"line {colour}")
    return Plot(title, chart.svg())


def speed_plot(history: History, say: Say, marks: Sequence[Mark] = ()) -> list[Plot]:
    """Steps per second over a history, from the clock of its rows; none where the clock says nothing."""
    middles, values = speeds(history.steps, history.columns["runtime"])
    if not middles.size:
        return []
    return [curve_plot(say("plots", "speed"), middles, values, "c", say, marks)]


def ready_plot(
    steps: FloatArray, fastest: FloatArray, slowest: FloatArray, say: Say, marks: Sequence[Mark] = ()
) -> Plot:
    """Seconds until the fastest and the slowest of several processes are ready: between them all others wait.

    Args:
        steps: step of each row [rows].
        fastest: of each row, the first that is ready [rows].
        slowest: the last [rows].
        say: gives the sentences of the page's language.
        marks: findings to be marked.
    """
    curves = [(blocks(steps, values), kind) for values, kind in ((slowest, "b"), (fastest, "a"))]
    high = max(float(medians.max()) for (_, medians), _ in curves)
    chart = _chart(steps, 0.0, high * 1.08 or 1.0, say("plots", "step"), False, marks)
    for curve, kind in curves:
        chart.line(*curve, f"line {kind}")
    legend = (("b", say("ranks", "slowest")), ("a", say("ranks", "fastest")))
    return Plot(say("ranks", "plot"), chart.svg(), legend)


def rollout_plot(rollout: Rollout, say: Say) -> Plot:
    """PSNR over the horizon: the model, the copied last frame, the mean frame."""
    kinds = dict(zip(rollout.curves, ("a", "b dashed", "c dotted"), strict=False))
    places = np.log2(np.maximum(rollout.horizons, 1))
    levels = [level for curve in rollout.curves.values() for level in curve if level is not None]
    pad = 0.06 * (max(levels) - min(levels)) or 1.0
    chart = Chart(
        Axis(places.min() - 0.2, places.max() + 0.2),
        Axis(min(levels) - pad, max(levels) + pad),
        say("plots", "frames_ahead"),
    )
    for name, kind in kinds.items():
        known = np.array([math.nan if level is None else level for level in rollout.curves[name]])
        there = np.isfinite(known)
        chart.line(places[there], known[there], f"line {kind}")
        chart.dots(places[there], known[there], f"dot {kind}")
    for place, horizon in zip(places.tolist(), rollout.horizons, strict=True):
        chart.text(float(chart.across([place])[0]), chart.bottom + 14, str(horizon), "middle")
    legend = tuple((kind, say("plots", name)) for name, kind in kinds.items())
    return Plot(say("plots", "rollout"), chart.svg(x_ticks=()), legend)


def interval_plot(low: float, mean: float, high: float, say: Say) -> Plot:
    """A mean with its interval, against zero."""
    span = max(high, 0.0) - min(low, 0.0) or 1.0
    x = Axis(min(low, 0.0) - 0.12 * span, max(high, 0.0) + 0.12 * span)
    chart = Chart(x, Axis(-1.0, 1.0), "dB", height=84.0)
    zero = float(chart.across([0.0])[0])
    chart.segment(zero, chart.top, zero, chart.bottom, "line b dashed")
    chart.line([low, high], [0.0, 0.0], "interval")
    chart.dots([mean], [0.0], "dot a")
    legend = (("a", say("plots", "interval")), ("b dashed", say("plots", "no_control")))
    return Plot(say("plots", "delta_psnr"), chart.svg(y_ticks=False), legend)


def pays_to_be_logarithmic(values: FloatArray) -> bool:
    """Whether positive values span so much that a linear axis would hide where they end."""
    _, medians = blocks(np.arange(values.size, dtype=np.float64), values)
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0:
        return False
    return bool(max(medians.max(), np.percentile(finite, 99.5)) / medians.min() > LOG_FROM_RATIO)


def _range(values: FloatArray, log: bool) -> tuple[float, float]:
    """The ends of an axis: all values, but on a linear one no freak far above what is usual."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    usual = float(np.percentile(finite, 99))
    if not log and finite.size > 10 and usual > 0:
        high = min(high, FREAK_RATIO * usual)
    return low, max(high, low)


def _chart(steps: FloatArray, low: float, high: float, label: str, log: bool, marks: Iterable[Mark]) -> Chart:
    shown = sorted(list(marks)[:MOST_MARKS], key=lambda mark: mark.first_step)
    pad = 0.0 if log else 0.03 * (high - low)
    low = low if low == 0 else low - pad
    x = Axis(float(steps.min()), max(float(steps.max()), float(steps.min()) + 1))
    chart = Chart(x, Axis(low, high + pad, log), label, lanes=len(shown))
    for lane, mark in enumerate(shown):
        chart.bar(lane, mark.first_step, mark.last_step, mark.label, mark.severity)
    return chart
