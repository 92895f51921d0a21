"""What the doctor says: findings, made of codes and numbers. All sentences are in `languages/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is: `info` changes no verdict, `watch` asks for a look, `critical` for a halt."""

    INFO = "info"
    WATCH = "watch"
    CRITICAL = "critical"


class Verdict(StrEnum):
    """The state of a stage or a run. `unknown` outranks `watch`, because the unseen may be anything."""

    NORMAL = "normal"
    WATCH = "watch"
    UNKNOWN = "unknown"
    CRITICAL = "critical"

    @property
    def exit_code(self) -> int:
        """What `terrarium diagnose` exits with."""
        return {"normal": 0, "watch": 10, "critical": 11, "unknown": 12}[self.value]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of some verdicts; `unknown` where there are none."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.UNKNOWN)


@dataclass(frozen=True)
class Number:
    """One number that a finding is based on.

    Attributes:
        file: where it was read or computed from, relative to what was examined.
        name: what it is, such as "loss, median of the last block".
        number: its value; not finite where that is the finding.
        threshold: what it was compared with, or None if it only illustrates.
        unit: of both, such as "nats", "step/s", "ratio"; "" for counts.
    """

    file: str
    name: str
    number: float
    threshold: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        code: names the detector, such as "loss-diverging"; the key of its sentences.
        severity: how bad it is.
        stage: the stage that it was found in, or None for the whole run.
        first_step: where it began: the onset, not the step at which it could first be told. None: no steps.
        last_step: where it ended, or the last step seen while it lasts.
        evidence: the numbers that it is based on, the decisive one first.
        values: what its sentences mention, by name: numbers, or text that must be escaped when shown.
        confidence: that this is really so, 0 to 1.
        cause: code of its cause, if this run's own numbers support one; "" if none is known.
        actions: codes of what to do next, in order.
        caused_by: the finding that this one follows from, by its place in the list; filled in by `causes`.
    """

    code: str
    severity: Severity
    stage: str | None = None
    first_step: int | None = None
    last_step: int | None = None
    evidence: tuple[Number, ...] = ()
    values: Mapping[str, float | str] = field(default_factory=dict)
    confidence: float = 0.9
    cause: str = ""
    actions: tuple[str, ...] = ()
    caused_by: int | None = None
