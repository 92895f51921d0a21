"""How numbers and names read on a page, in any language."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

NOTHING = "–"
HAN = re.compile(r"[\u4e00-\u9fff]")
LATIN = re.compile(r"[A-Za-z0-9]")


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


def plain(value: Any, longest: int = 300) -> str:
    """Text from a file on one line: no control or direction-changing characters, bounded length."""
    cut = str(value)[: longest + 1]
    text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in cut)
    text = " ".join(text.split())
    return text[: longest - 1] + "…" if len(text) > longest else text


def readable(name: str) -> str:
    """A stage or column name as words: latent_actions -> latent actions."""
    return plain(name, 60).replace("_", " ")


def beside(left: str, right: str) -> str:
    """Two texts as one: with a space between Chinese and Latin characters, with none between two Chinese."""
    if HAN.search(left.rstrip(" ")[-1:]) and HAN.search(right.lstrip(" ")[:1]):
        return left.rstrip(" ") + right.lstrip(" ")
    ends = left[-1:], right[:1]
    mixed = any(HAN.search(one) and LATIN.search(other) for one, other in (ends, ends[::-1]))
    return f"{left} {right}" if mixed else left + right
