"""What was changed in a run that is under way: from which step on, by how much, and why.

They are stored beside the history and are functions of the step, like everything in training: a run that is
killed after a roll-back resumes with the rate that the roll-back chose.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import StageFolder, read_json, write_json
from terrarium.run.retention import remove_beyond

NAME = "adjustments.json"
RESTORE = "Restore it from a copy: without it the stage would go on at another rate"


@dataclass(frozen=True)
class Adjustment:
    """One change.

    Attributes:
        from_step: the first step that it applies to.
        rate_factor: what the learning rate is multiplied by from there on.
        skip_batches: how many batches are skipped there.
        reason: why it was made.
        accumulation_factor: how many times as many micro-batches a batch is cut into from there on.
        decision: number of the decision to go back that it carries out, from 1; 0 if none led to it.
    """

    from_step: int
    rate_factor: float = 1.0
    skip_batches: int = 0
    reason: str = ""
    accumulation_factor: int = 1
    decision: int = 0


@dataclass(frozen=True)
class Adjustments:
    """All changes of a stage, in the order in which they were made."""

    made: tuple[Adjustment, ...] = ()

    @staticmethod
    def read(folder: StageFolder) -> Adjustments:
        """The adjustments of a stage; none if nothing was changed.

        Raises:
            RunError: the file is damaged.
        """
        path = folder.path / NAME
        if not path.exists():
            return Adjustments()
        tree = read_json(path)
        made = tree.get("adjustments") if isinstance(tree, dict) else None
        if not isinstance(made, list):
            raise RunError(f"{path} is damaged: it holds no list of adjustments", RESTORE)
        return Adjustments.parse(made, path)

    @staticmethod
    def parse(entries: list[Any], path: Path) -> Adjustments:
        """The inverse of `written`.

        Raises:
            RunError: an entry is damaged; `path` says where.
        """
        return Adjustments(tuple(_parse(entry, path) for entry in entries))

    def written(self) -> list[dict[str, Any]]:
        """The adjustments as JSON values."""
        return [asdict(each) for each in self.made]

    def rate_factor(self, step: int) -> float:
        """What the learning rate of a step is multiplied by."""
        factor = 1.0
        for adjustment in self.made:
            if step >= adjustment.from_step:
                factor *= adjustment.rate_factor
        return factor

    def batch_of(self, step: int) -> int:
        """The number of the batch that a step is trained on."""
        return step + sum(each.skip_batches for each in self.made if step >= each.from_step)

    def accumulation_factor(self, step: int) -> int:
        """How many times as many micro-batches as configured a step is taken in."""
        return math.prod(each.accumulation_factor for each in self.made if step >= each.from_step)

    def and_then(self, adjustment: Adjustment) -> Adjustments:
        """With one more; those that begin beyond it are dropped, because those steps are taken again."""
        kept = tuple(each for each in self.made if each.from_step <= adjustment.from_step)
        return Adjustments((*kept, adjustment))


UNCHANGED = Adjustments()


def set_back(folder: StageFolder, adjustment: Adjustment) -> None:
    """Let the next resume begin at `adjustment.from_step`, changed.

    It may be called again after a kill in between: the change is written last, and marks that it was done.

    Raises:
        RunError: the folder can't be written.
    """
    adjustments = Adjustments.read(folder).and_then(adjustment)
    disk.failpoint("set_back:begun")
    try:
        remove_beyond(folder, adjustment.from_step)
    except OSError as error:
        raise RunError(
            f"{folder.checkpoints_path} can't be written: {error.strerror}",
            "Check who may write there, then resume: that takes it back",
        ) from error
    write_json(folder.path / NAME, {"format": 1, "adjustments": adjustments.written()})


def _parse(entry: Any, path: Path) -> Adjustment:
    match entry:
        case {
            "from_step": int(step),
            "rate_factor": int() | float() as factor,
            "skip_batches": int(skip),
            "reason": str(reason),
        } if step >= 0 and 0 < factor <= 1 and skip >= 0:
            parts, decision = entry.get("accumulation_factor", 1), entry.get("decision", 0)
            if isinstance(parts, int) and parts >= 1 and isinstance(decision, int) and decision >= 0:
                return Adjustment(step, float(factor), skip, reason, parts, decision)
    raise RunError(f"{path} is damaged: {str(entry)[:80]!r} is no adjustment", RESTORE)
