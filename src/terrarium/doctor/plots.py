"""Plots as inline SVG that follow the page's colours, light and dark, and its fonts.

Matplotlib draws with stand-in colours, which become CSS variables afterwards; words stay words. No text that
comes from a file is ever drawn: names and legends belong to the page, which escapes them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from terrarium.doctor.history import FloatArray
from terrarium.doctor.scores import Rollout
from terrarium.doctor.wording import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "#100001": "var(--plot-ink)",
    "#100002": "var(--plot-grid)",
    "#100003": "var(--plot-a)",
    "#100004": "var(--plot-b)",
    "#100005": "var(--plot-c)",
    "#100006": "var(--plot-bad)",
}
INK, GRID, A, B, C, BAD = COLOURS
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "terrarium",
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
WIDTH_INCHES, HEIGHT_INCHES = 5.0, 2.5
LEFT_SHARE, FOOT_INCHES = 0.125, 0.42  # room for tick labels: the same everywhere, so the plots line up
MOST_BLOCKS, FEWEST_BLOCKS, ROWS_PER_BLOCK = 120, 30, 20
RAW_BINS = 450
LOG_FROM_RATIO = 8.0


@dataclass(frozen=True)
class Plot:
    """One plot of the page.

    Attributes:
        title: what is drawn.
        svg: the drawing, safe to put into the page as it is.
        legend: (colour, name) of each line, the colour one of "a", "b", "c", "bad", "raw", "ink".
        note: a remark below, or "".
    """

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


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


def loss_plot(
    steps: FloatArray, loss: FloatArray, chance: dict[str, float], bad_steps: FloatArray, title: str = "Loss"
) -> Plot:
    """Loss: raw light, block medians bold, chance levels dashed, rows that are not finite marked below.

    Args:
        steps: step of each row [rows].
        loss: loss of each row [rows], NaN where there is none.
        chance: name -> loss that guessing reaches.
        bad_steps: steps [N] whose loss was not finite.
    """
    log = pays_to_be_logarithmic(loss)
    low, high = np.nanmin(loss), np.nanmax(loss)
    near = {
        name: level for name, level in chance.items() if low - (high - low) <= level <= high + (high - low)
    }
    shown = {name: level for name, level in near.items() if level > 0 or not log}

    def draw(axes: Axes) -> None:
        axes.plot(*outline(steps, loss), color=A, alpha=0.28, linewidth=0.7)
        axes.plot(*blocks(steps, loss), color=A, linewidth=1.9)
        for level in shown.values():
            axes.axhline(level, color=B, linewidth=1.2, linestyle=(0, (4, 3)))
        if bad_steps.size:
            _mark(axes, bad_steps, float(steps.max()))
        _logarithmic(axes, log)

    legend = [("raw", "each step"), ("a", "median of blocks")]
    legend += [
        ("b", f"{'chance level' if name == 'chance' else name} {figure(level)}")
        for name, level in shown.items()
    ]
    legend += [("bad", "not finite")] if bad_steps.size else []
    note = "Logarithmic axis." if log else ""
    return Plot(title, _svg(draw, "step"), tuple(legend), note)


def _mark(axes: Axes, steps: FloatArray, last_step: float) -> None:
    """Ticks on the lower edge, no more than can be told apart."""
    span = max(1.0, last_step)
    marks = np.unique(np.round(steps / span, 3)) * span
    lower_edge = axes.get_xaxis_transform()
    axes.plot(marks, np.zeros_like(marks), "|", color=BAD, transform=lower_edge, clip_on=False)


def curve_plot(title: str, steps: FloatArray, values: FloatArray, colour: str) -> Plot:
    """One measure over the steps: raw light, block medians bold.

    Args:
        title: what is drawn (it goes into the page, not into the drawing).
        steps: step of each row [rows].
        values: value of each row [rows], NaN where there is none.
        colour: "a", "b" or "c".
    """
    ink = {"a": A, "b": B, "c": C}[colour]

    def draw(axes: Axes) -> None:
        middles, medians = blocks(steps, values)
        if np.count_nonzero(np.isfinite(values)) > medians.size:
            axes.plot(*outline(steps, values), color=ink, alpha=0.28, linewidth=0.7)
        axes.plot(middles, medians, color=ink, linewidth=1.9)
        if medians.min() >= 0:
            _limit(axes, values, medians)

    return Plot(title, _svg(draw, "step"))


def _limit(axes: Axes, values: FloatArray, medians: FloatArray) -> None:
    """From zero to a little above what is usual: one freak value (a first step) must not flatten the rest."""
    usual = float(np.nanpercentile(values, 99)) if medians.size > 10 else float(np.nanmax(values))
    axes.set_ylim(0, max(usual, float(medians.max())) * 1.08 or 1.0)


def rollout_plot(rollout: Rollout) -> Plot:
    """PSNR over the horizon: the model, the copied last frame, the mean frame."""
    inks = dict(
        zip(rollout.curves, (("a", A, "-"), ("b", B, (0, (4, 3))), ("c", C, (0, (1, 2)))), strict=False)
    )

    def draw(axes: Axes) -> None:
        for name, (_, ink, dashes) in inks.items():
            points = [
                (t, db)
                for t, db in zip(rollout.horizons, rollout.curves[name], strict=True)
                if db is not None
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True), color=ink, linestyle=dashes, linewidth=1.9, marker="o", ms=4
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks(rollout.horizons, [str(horizon) for horizon in rollout.horizons])
        axes.minorticks_off()

    legend = tuple((colour, name) for name, (colour, _, _) in inks.items())
    return Plot("Roll-out PSNR (dB) on moving clips", _svg(draw, "frames ahead"), legend)


def interval_plot(title: str, low: float, mean: float, high: float) -> Plot:
    """A mean with its interval, against zero."""

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=B, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.plot([low, high], [0, 0], color=A, linewidth=7, alpha=0.35, solid_capstyle="butt")
        axes.plot([mean], [0], "o", color=A, ms=8)
        axes.set_yticks([])
        axes.set_ylim(-1, 1)
        span = max(high, 0.0) - min(low, 0.0) or 1.0
        axes.set_xlim(min(low, 0.0) - 0.12 * span, max(high, 0.0) + 0.12 * span)

    return Plot(title, _svg(draw, "dB", height=1.1), (("a", "mean and its interval"), ("b", "no control")))


def pays_to_be_logarithmic(values: FloatArray) -> bool:
    """Whether positive values span so much that a linear axis would hide where they end."""
    _, medians = blocks(np.arange(values.size, dtype=np.float64), values)
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0:
        return False
    return bool(max(medians.max(), np.percentile(finite, 99.5)) / medians.min() > LOG_FROM_RATIO)


def _logarithmic(axes: Axes, log: bool) -> None:
    if not log:
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs: Sequence[float] = (1.0, 2.0, 5.0) if high / low < 500 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain_ticks(axes: Axes) -> None:
    """No powers, no offsets: 20k steps, 0.0004."""
    from matplotlib.ticker import ScalarFormatter

    if isinstance(axes.xaxis.get_major_formatter(), ScalarFormatter):
        axes.xaxis.set_major_formatter(
            lambda value, _: f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
        )
    if isinstance(axes.yaxis.get_major_formatter(), ScalarFormatter):
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _svg(draw: Callable[[Axes], None], x_label: str, height: float = HEIGHT_INCHES) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        canvas = Figure(figsize=(WIDTH_INCHES, height))
        FigureCanvasSVG(canvas)
        top, bottom = 0.06 / height, FOOT_INCHES / height
        axes = canvas.add_axes((LEFT_SHARE, bottom, 0.96 - LEFT_SHARE, 1 - top - bottom))
        draw(axes)
        axes.margins(x=0.02)
        axes.set_xlabel(x_label)
        _plain_ticks(axes)
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_the_page(text.getvalue())


def _for_the_page(svg: str) -> str:
    """Only the drawing: no prologue, metadata, own styles or sizes; the page's colours and fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 class="drawing" aria-hidden="true"', svg, count=1
    )
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for stand_in, variable in COLOURS.items():
        svg = svg.replace(stand_in, variable)
    return re.sub(r"\s*\n\s*", " ", svg)
