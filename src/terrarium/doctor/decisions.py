"""What training decided at its gates, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Decided:
    """One decision that training made at a gate; what the log does not say is None or "".

    Attributes:
        step: steps taken when it was made.
        what: "retune", "roll back", "restart stage", "stop", or "continue" where something fell short.
        code: of the finding that led to it.
        cause: code of what a trial proved to be behind it.
        reason: in the log's own words, from a file: to be escaped when shown.
        onset: the step at which the trouble began.
        resumed_from: the step that training went back to.
        rate_factor: what the learning rate was multiplied by from there on.
        skip_batches: how many batches were passed over there.
        accumulation_factor: into how many times as many parts a batch was cut from there on.
        numbers: name -> number that it rests on.
    """

    step: int | None
    what: str
    code: str = ""
    cause: str = ""
    reason: str = ""
    onset: int | None = None
    resumed_from: int | None = None
    rate_factor: float | None = None
    skip_batches: int | None = None
    accumulation_factor: int | None = None
    numbers: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Decisions:
    """What training decided at the gates of a stage.

    Attributes:
        source: the file that says it, relative to what was examined.
        asked: how often it asked whether it may go on.
        damaged: lines that could not be read.
        made: the decisions other than to go on.
    """

    source: str
    asked: int
    damaged: int = 0
    made: tuple[Decided, ...] = ()
