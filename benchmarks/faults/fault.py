"""What a fault of the catalogue is, and what became of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What was seen of a fault, and what it cost.

    Attributes:
        seen: whether somebody was told, in the words or by the code that fits.
        kept: whether what must not be lost is still there; None where there was nothing to lose, or nobody
            looked: a log that only tells of a fault.
        cause: whether the cause was named first; None where the fault is its own cause.
        delay: steps from the fault to the word; None where there are none.
        lost_steps: steps that were committed before and are gone.
        detail: what was said or was missing, for whoever looks into a row that failed.
    """

    seen: bool
    kept: bool | None = None
    cause: bool | None = None
    delay: float | None = None
    lost_steps: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Fault:
    """One entry.

    Attributes:
        number: in the catalogue; a control has 0.
        name: what goes wrong.
        inject: does it in an empty folder with a seed, and says what became of it. What is hit, and where,
            must depend on the seed. It may start processes of its own (`processes.py`), as many as it
            likes; none may outlive it.
        healthy: whether nothing is wrong, and being told something is a false alarm.
        quick: whether it takes well under a second: it is part of the slice that the tests run.
    """

    number: int
    name: str
    inject: Callable[[Path, int], Outcome]
    healthy: bool = False
    quick: bool = False


def dice_of(seed: int) -> random.Random:
    """Dice for what is hit and where; no secret depends on them."""
    return random.Random(seed)  # noqa: S311
