"""Charts as small inline SVG: lines on two axes, in the colours and the fonts of the page around them.

Colours, widths and dashes are classes that the page's style knows. The only text is figures of our own and
one axis label; nothing that comes from a file is ever drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from terrarium.doctor.history import FloatArray

WIDTH, HEIGHT = 400.0, 190.0
LEFT, RIGHT, TOP, FOOT = 46.0, 10.0, 8.0, 34.0
LANE = 13.0
LABEL_GAP = 5.0


@dataclass(frozen=True)
class Axis:
    """A range of numbers on one side of a chart; a range of no width is widened.

    Attributes:
        low: lower end.
        high: upper end.
        log: whether it is logarithmic, both ends being positive.
    """

    low: float
    high: float
    log: bool = False

    def place(self, values: FloatArray | Sequence[float]) -> FloatArray:
        """Where values stand [N]: 0 at the lower end, 1 at the upper one; none is beyond them."""
        low, high, values = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(np.maximum(values, self.low))
        span = high - low
        if not span > 0 or not math.isfinite(span):
            return np.full(values.shape, 0.5)
        return np.asarray(np.clip((values - low) / span, 0.0, 1.0))

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within the range."""
        found = _log_ticks(self.low, self.high, most) if self.log else []
        return found if len(found) > 1 else round_numbers(self.low, self.high, most)


def round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """At most so many multiples of 1, 2, 2.5 or 5 times a power of ten between two numbers."""
    span = high - low
    if not span > 0 or not math.isfinite(span) or span < 1e-12 * max(abs(low), abs(high)):
        return [low]
    scale = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10, 20) if span / (factor * scale) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(count * step, 12 - math.floor(math.log10(step))) for count in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def tick_label(value: float, thousands: bool = False) -> str:
    """A tick as text: 20k steps, 0.0004, 1e−5."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if thousands and abs(value) >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


class Chart:
    """A chart in the making.

    Args:
        x: horizontal axis.
        y: vertical axis.
        x_label: what the horizontal axis counts.
        lanes: rows kept free above the chart, for bars.
        height: of the whole, in the units of a width of 400.
    """

    def __init__(self, x: Axis, y: Axis, x_label: str, lanes: int = 0, height: float = HEIGHT) -> None:
        self.x, self.y, self.lanes = x, y, lanes
        self.top, self.height = TOP + LANE * lanes, height + LANE * lanes
        self.bottom = self.height - FOOT
        self.parts: list[str] = []
        self.text(LEFT + (WIDTH - LEFT - RIGHT) / 2, self.height - 4, x_label, "middle")

    def across(self, xs: FloatArray | Sequence[float]) -> FloatArray:
        """Horizontal places [N] of values on the x axis."""
        return LEFT + self.x.place(xs) * (WIDTH - LEFT - RIGHT)

    def up(self, ys: FloatArray | Sequence[float]) -> FloatArray:
        """Vertical places [N] of values on the y axis."""
        return self.bottom - self.y.place(ys) * (self.bottom - self.top)

    def text(self, x: float, y: float, text: str, anchor: str, kind: str = "") -> None:
        """A text whose foot stands at a place."""
        kind = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>')

    def segment(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line between two places."""
        self.parts.append(f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')

    def line(self, xs: FloatArray | Sequence[float], ys: FloatArray | Sequence[float], kind: str) -> None:
        """A line through values; a single one becomes a dot."""
        places = list(zip(self.across(xs).tolist(), self.up(ys).tolist(), strict=True))
        if len(places) == 1:
            self.dots(xs, ys, kind)
        elif places:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            self.parts.append(f'<path class="{kind}" d="M{path}"/>')

    def dots(self, xs: FloatArray | Sequence[float], ys: FloatArray | Sequence[float], kind: str) -> None:
        """A dot at each value."""
        for x, y in zip(self.across(xs).tolist(), self.up(ys).tolist(), strict=True):
            self.parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')

    def level(self, y: float, kind: str) -> None:
        """A horizontal line across the chart."""
        place = float(self.up([y])[0])
        self.segment(LEFT, place, WIDTH - RIGHT, place, kind)

    def notches(self, xs: FloatArray, kind: str) -> None:
        """Short strokes on the lower edge, no more than can be told apart."""
        for x in np.unique(np.round(self.across(xs))).tolist():
            self.segment(x, self.bottom - 4, x, self.bottom + 4, kind)

    def bar(self, lane: int, first: float, last: float, label: str, kind: str) -> None:
        """A labelled bar above the chart from `first` to `last`, and a fine line down where it begins."""
        begin, end = self.across([first, last]).tolist()
        y = TOP + LANE * lane
        self.segment(begin, y, begin, self.bottom, f"onset {kind}")
        self.segment(begin, y, max(end, begin + 2), y, f"span {kind}")
        self.text(begin - 4 if begin > LEFT + 14 else LEFT - LABEL_GAP, y + 3.5, label, "end", kind)

    def svg(self, y_ticks: bool = True, x_ticks: Sequence[float] | None = None) -> str:
        """The finished drawing: grid and ticks below, lines above."""
        drawn, self.parts = self.parts, []
        for tick in self.y.ticks() if y_ticks else []:
            self.level(tick, "grid")
            self.text(LEFT - LABEL_GAP, float(self.up([tick])[0]) + 3.5, tick_label(tick), "end")
        for tick in self.x.ticks(7) if x_ticks is None else x_ticks:
            label = tick_label(tick, thousands=True)
            self.text(float(self.across([tick])[0]), self.bottom + 14, label, "middle")
        self.parts += drawn
        return (
            f'<svg class="drawing" viewBox="0 0 {WIDTH:g} {self.height:g}" aria-hidden="true" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(self.parts)}</svg>'
        )
