"""What a fault of the catalogue is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What was seen of a fault, and what it cost.

    Attributes:
        seen: whether somebody was told, in the words or by the code that fits.
        kept: whether what must not be lost is still there.
        cause: whether the cause was named first; None where the fault is its own cause.
        delay: steps from the fault to the word; None where there are none.
        lost_steps: steps that were committed before and are gone.
    """

    seen: bool
    kept: bool
    cause: bool | None = None
    delay: float | None = None
    lost_steps: int = 0


@dataclass(frozen=True)
class Fault:
    """One entry.

    Attributes:
        number: in the catalogue; a control has 0.
        name: what goes wrong.
        inject: does it in an empty folder with a seed, and says what became of it.
        healthy: whether nothing is wrong, and being told something is a false alarm.
    """

    number: int
    name: str
    inject: Callable[[Path, int], Outcome]
    healthy: bool = False
