"""What was decided at the gates of a stage: one line each in `gates.jsonl`, never removed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import StageFolder
from terrarium.train.adjustments import Adjustment, Adjustments

NAME = "gates.jsonl"


class What(StrEnum):
    """What may be decided."""

    CONTINUE = "continue"
    RETUNE = "retune"  # go back, continue at a lower rate
    ROLL_BACK = "roll back"  # go back, continue with other batches
    RESTART = "restart stage"
    STOP = "stop"


@dataclass(frozen=True)
class Trouble:
    """Something that keeps training from going on as it is.

    Attributes:
        step: steps taken when it was noticed.
        code: code of the finding, or of the reason why a step was refused.
        onset: the step at which it began.
        verdict: the doctor's verdict on the stage; "" if a step was refused before the doctor was asked.
        numbers: name -> number that it is based on.
    """

    step: int
    code: str
    onset: int
    verdict: str = ""
    numbers: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        step: steps taken when it was made.
        what: what was decided.
        verdict: the doctor's verdict on the stage; "" if a step was refused before the doctor was asked.
        code: code of the finding that led to it; "" if none did.
        onset: the step at which that began; None if nothing did.
        cause: code of the cause that a trial proved; "" if none was proved.
        numbers: name -> number that it is based on; those of trials are named like "loss at rate x 0.1".
        resumed_from: the step that training goes back to; None if it goes on or stops.
        rate_factor: what the learning rate is multiplied by from there on.
        skip_batches: how many batches are skipped there.
        accumulation_factor: how many times as many micro-batches a batch is cut into from there on.
        reason: why, in words.
    """

    step: int
    what: What
    verdict: str = ""
    code: str = ""
    onset: int | None = None
    numbers: dict[str, float | None] = field(default_factory=dict)
    resumed_from: int | None = None
    rate_factor: float = 1.0
    skip_batches: int = 0
    accumulation_factor: int = 1
    reason: str = ""
    cause: str = ""

    @staticmethod
    def about(trouble: Trouble, what: What, reason: str) -> Decision:
        """A decision about a trouble."""
        found = trouble.verdict, trouble.code, trouble.onset, trouble.numbers
        return Decision(trouble.step, what, *found, reason=reason)

    def told(self, stage: str) -> str:
        """One line about a decision to go back, for who watches the stage."""
        back = f"{self.what.capitalize()}: to step {self.resumed_from}; {self.reason}"
        return f"{stage}, step {self.step}: {self.code}, since step {self.onset}. {back}"


def write_down(folder: StageFolder, decision: Decision) -> None:
    """Append a decision, and wait until the disk has it.

    Raises:
        RunError: it can't be written.
    """
    path, row = folder.path / NAME, disk.without_non_finite({**asdict(decision), "at": disk.now()})
    try:
        end = b"\n" if disk.is_torn(path) else b""  # of what a full disk cut off
        disk.append_durably(path, end + disk.dump_json(row))
    except OSError as error:
        raise RunError(f"{path} can't be written: {disk.why(error)}", "Free some space and resume") from error


def cures_tried(folder: StageFolder) -> list[dict[str, object]]:
    """The decisions so far that set the stage back; unreadable lines are ignored."""
    return [row for row in _rows(folder) if row.get("what") not in (What.CONTINUE, What.STOP)]


def is_known(folder: StageFolder, decision: Decision) -> bool:
    """Whether the last line says just that: who gives the same command again adds nothing."""
    rows, same = _rows(folder), ("step", "what", "verdict", "code", "reason", "numbers")
    return bool(rows) and all(rows[-1].get(key) == getattr(decision, key) for key in same)


def _rows(folder: StageFolder) -> list[dict[str, object]]:
    try:
        lines = (folder.path / NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{folder.path / NAME} can't be read: {disk.why(error)}") from error
    return [row for row in map(_row, lines) if row is not None]


def undone(folder: StageFolder) -> Adjustment | None:
    """What the last decision to go back asks for, where a kill came before it was carried out."""
    cures, made = cures_tried(folder), Adjustments.read(folder).made
    carried_out = made[-1].decision if made else 0
    if len(cures) <= carried_out or (made and not carried_out):  # of an older version, or set by hand
        return None
    return adjustment_of(cures[-1], len(cures))


def adjustment_of(row: Mapping[str, object], number: int) -> Adjustment | None:
    """What a decision asks for, None where it is not to go back; it is the `number`-th that is."""
    match row:
        case {
            "resumed_from": int(step),
            "rate_factor": int() | float() as factor,
            "skip_batches": int(skip),
            "accumulation_factor": int(parts),
        }:
            reason = str(row.get("cause") or row.get("code") or "")
            return Adjustment(step, float(factor), skip, reason, parts, number)
    return None


def tries_of(trouble: Trouble, cures: list[dict[str, object]]) -> list[dict[str, object]]:
    """The cures that were tried for this same trouble: of the same code, and training got no further.

    A cure has held if training went beyond the step where the trouble was noticed, by as many steps as it had
    been set back. Whatever comes later counts as another trouble.
    """
    same = [row for row in cures if row.get("code") == trouble.code]
    return [row for row in same if trouble.onset <= _held_at(row)]


def _held_at(row: dict[str, object]) -> float:
    seen, back = row.get("step"), row.get("resumed_from")
    if not isinstance(seen, int):
        return math.inf
    return 2 * seen - back if isinstance(back, int) else seen


def _row(line: bytes) -> dict[str, object] | None:
    try:
        row = disk.parse_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
