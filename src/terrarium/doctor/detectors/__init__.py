"""The detectors: one function for one code, and its docstring is the page that `--explain` prints.

A function is called `loss_diverging`, its code is `loss-diverging`. It yields findings, or nothing: it
never says that all is well, never raises for what a history holds, and decides nothing about causes; which
finding leads and which ones follow from it is decided once, in `terrarium.doctor.causes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.finding import Finding

StageDetector: TypeAlias = Callable[[StageEvidence], Iterator[Finding]]
RunDetector: TypeAlias = Callable[[Evidence], Iterator[Finding]]

STAGE_DETECTORS: tuple[StageDetector, ...] = ()
RUN_DETECTORS: tuple[RunDetector, ...] = ()


def code_of(detector: Callable[..., Iterator[Finding]]) -> str:
    """The code of a detector: its name with hyphens."""
    return detector.__name__.replace("_", "-")
