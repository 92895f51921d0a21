"""Seconds of training, from whatever clock a history has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.history import FloatArray
from terrarium.doctor.readers.names import normal

SINCE_1970 = 1e8  # seconds; a smaller number is a time since the start
UNITS = {"ms": 1e-3, "min": 60.0, "minutes": 60.0, "hours": 3600.0}
FRACTIONS_OF_SECONDS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))  # of a time since 1970


@dataclass(frozen=True, eq=False)
class Moments:
    """When the rows of a history were logged.

    Attributes:
        runtime: seconds of training [rows]; None where nothing tells.
        runtime_from: "runtime", "timestamp", or "".
        names: the columns that were used, the runtime's first.
        last_time: the latest of all rows, seconds since 1970; None where unknown.
    """

    runtime: FloatArray | None = None
    runtime_from: str = ""
    names: tuple[str, ...] = ()
    last_time: float | None = None


def choose(columns: Mapping[str, FloatArray], runtimes: Sequence[str], timestamps: Sequence[str]) -> Moments:
    """Take the clock of a history from the columns that may hold it, the best spellings first."""
    elapsed = [name for name in runtimes if np.isfinite(columns[name]).sum() > 1]
    dated: list[str] = []
    for name in timestamps:
        finite = columns[name][np.isfinite(columns[name])]
        if finite.size and float(np.median(finite)) >= SINCE_1970:
            dated.append(name)
        elif finite.size > 1 and (np.diff(finite) >= 0).all():
            elapsed.append(name)
    moments = _seconds_since_1970(columns[dated[0]]) if dated else None
    last_time = None if moments is None else float(np.nanmax(moments))
    used = (*elapsed[:1], *dated[:1])
    if elapsed:
        factor = UNITS.get(normal(elapsed[0]).rpartition("_")[2], 1.0)
        return Moments(_finite(columns[elapsed[0]]) * factor, "runtime", used, last_time)
    if moments is not None:
        start = moments[np.isfinite(moments)][0]
        return Moments(moments - start, "timestamp", used, last_time)
    return Moments()


def _seconds_since_1970(values: FloatArray) -> FloatArray:
    finite = _finite(values)
    size = float(np.nanmedian(finite))
    return finite * next((factor for least, factor in FRACTIONS_OF_SECONDS if size > least), 1.0)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
