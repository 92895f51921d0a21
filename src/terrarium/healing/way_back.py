"""Which checkpoint a stage in trouble goes back to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from terrarium.healing.decisions import Trouble, What, cures_tried
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train.recent import KEPT


def newest_until(folder: StageFolder, step: int, but: Collection[object] = ()) -> Path | None:
    """The newest whole checkpoint of this step or earlier, not counting the steps in `but`, or None."""
    for path in reversed(list_checkpoints(folder)):
        there = checkpoint_step(path)
        if there > step or there in but:
            continue
        if judge(path, run_id=folder.run_id, kind=folder.name).whole:
            return path
    return None


def gate_before(trouble: Trouble, every: int, but: Collection[object] = ()) -> int | None:
    """The newest gate before an onset, of the last few whose states a process keeps in memory, or None."""
    last = (trouble.step - 1) // every * every
    gates = range(last, max(0, last - KEPT * every), -every)
    return next((gate for gate in gates if gate <= trouble.onset and gate not in but), None)


def gone_back_to(folder: StageFolder, trouble: Trouble) -> set[object]:
    """The steps that training already went back to because of a trouble that is here again."""
    cures = [row for row in cures_tried(folder) if row.get("code") == trouble.code]
    return {row.get("resumed_from") for row in cures if row["what"] == What.ROLL_BACK}
