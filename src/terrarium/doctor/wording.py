"""How numbers, times and names read on a page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

NOTHING = "–"


def figure(value: float | None, digits: int = 4) -> str:
    """A number in so many significant digits, integers whole, thousands apart: 0.001531, 5.681, 50,343."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 10 ** (digits - 1) and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def fixed(value: float | None, decimals: int = 2) -> str:
    """A number with so many decimals: 31.24."""
    if value is None or not math.isfinite(value):
        return NOTHING if value is None else str(value)
    return f"{value:,.{decimals}f}".replace("-", "−")


def share(value: float | None) -> str:
    """A fraction in percent: 0.482 -> 48.2 %."""
    return NOTHING if value is None else f"{fixed(100 * value, 1)} %"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 187.4 h -> 7 d 19 h; 754 s -> 12 min 34 s."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    left, parts = round(seconds), list[str]()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def counted(count: int, noun: str) -> str:
    """`3 checkpoints`, `1 checkpoint`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def plain(value: Any, longest: int = 300) -> str:
    """Text from a file on one line: no control or direction-changing characters, bounded length."""
    cut = str(value)[: longest + 1]
    text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in cut)
    text = " ".join(text.split())
    return text[: longest - 1] + "…" if len(text) > longest else text


def readable(name: str) -> str:
    """A stage or column name as words: latent_actions -> latent actions."""
    return plain(name, 60).replace("_", " ")


def caption(what: str, step: int, when: str, columns: int, labels: Sequence[str]) -> str:
    """What a picture shows, in words: its subject, its step, its rows and the direction of time."""
    stages = {"early": "early, ", "late": "latest, ", "only": ""}
    words = f"{readable(what).capitalize()}, {stages[when]}step {step:,}."
    kinds = list(dict.fromkeys(plain(label, 40) for label in labels))
    if len(kinds) > 1:
        words += f" Rows from the top: {', '.join(kinds)}{', and so on' if len(labels) > len(kinds) else ''}."
    elif kinds:
        words += f" Every row: {kinds[0]}."
    return words + (f" Time runs to the right over {counted(columns, 'frame')}." if columns > 1 else "")
