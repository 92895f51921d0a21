"""A figure, or null and the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Figures = dict[str, object]


def mean(name: str, values: Sequence[NDArray[np.float64]], reason: str) -> Figures:
    """`{name: mean of all values}`, or null under `name` and the reason under `<name>_reason`."""
    together = np.concatenate([*values, np.zeros(0)])
    if not len(together):
        return absent([name], reason)
    return {name: float(together.mean())}


def absent(names: Sequence[str], reason: str) -> Figures:
    """Null under each name, and why under `<name>_reason`."""
    return {key: value for name in names for key, value in ((name, None), (f"{name}_reason", reason))}
