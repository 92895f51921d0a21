"""What is not there, and whether a verdict without it would be a guess.

The rules, in one place:

- A history that is missing, unreadable, without rows or without a loss is essential: nothing else tells how
  training goes. Lines that were lost out of it are not.
- Checkpoints are essential in a run or a tree once a thousand steps were logged (twice the interval, where
  the run tells it): by then there must be one. A history given alone has none to show.
- A stage of ours that never began is essential where no stage has a row, or where a later one has and
  nothing trains any more: then it was lost. Otherwise its turn has simply not come.
- Pictures, configurations and scores are never essential.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from terrarium.doctor.evidence import Kind, Liveness, Missing, StageEvidence
from terrarium.doctor.history import History
from terrarium.doctor.json_files import mapping, number

MANY_STEPS = 1000
FEWEST_STEPS, REGULAR = 20, 0.9
LEAST_ROW_BYTES = 12


def of_history(stage: str, history: History, file: str) -> Iterator[Missing]:
    """What is missing from a history that could be read.

    Args:
        stage: its stage.
        history: what was read.
        file: its name, as the report gives it.
    """
    if not history.rows:
        yield Missing(stage, "history", "no-rows", file, essential=True)
    elif history.column("loss") is None:
        yield Missing(stage, "loss", "no-loss", file, essential=True)
    if history.damaged:
        yield Missing(stage, "part-of-history", "lost-rows", f"{lost_rows(history)} ({file})")


def lost_rows(history: History) -> int:
    """How many rows were lost to damage: those that could be counted, or those whose steps are missing.

    A stretch of damage counts as one record, whatever was in it. Where steps are logged at a regular
    interval, the gap that it left tells how many rows it held; never more than its bytes have room for.
    """
    forward = np.diff(history.steps)
    forward = forward[forward > 0]
    if not history.damaged or forward.size < FEWEST_STEPS:
        return history.damaged
    distance = float(np.median(forward))
    if np.mean(forward == distance) < REGULAR:
        return history.damaged
    missing = int((np.round(forward[forward > distance] / distance) - 1).sum())
    return max(history.damaged, min(missing, history.lost_bytes // LEAST_ROW_BYTES))


def of_stage(stage: StageEvidence, folder: Path | None) -> Iterator[Missing]:
    """What a stage lacks beside its history: checkpoints that there should be by now.

    Args:
        stage: what it left behind.
        folder: its folder; None where none was found.
    """
    if stage.kind is Kind.HISTORY or stage.checkpoints:
        return
    if folder is None:
        yield Missing(stage.name, "checkpoints", "no-folder", stage.name)
    elif not (folder / "checkpoints").is_dir():
        yield Missing(stage.name, "checkpoints", "absent", "checkpoints/", _overdue(stage))
    else:
        yield Missing(stage.name, "checkpoints", "none-inside", "checkpoints/", _overdue(stage))


def _overdue(stage: StageEvidence) -> bool:
    every = number(mapping(stage.config.get("config")).get("checkpoint_every"))
    due = 2 * every if every else MANY_STEPS
    return bool(stage.history and stage.history.rows and stage.history.steps.max() >= due)


def not_begun(gaps: list[Missing], stages: list[StageEvidence], liveness: Liveness) -> list[Missing]:
    """The gaps of a run of ours, those of stages that were not begun judged by the stages after them."""
    trained = [bool(stage.history and stage.history.rows) for stage in stages]
    places = {stage.name: place for place, stage in enumerate(stages)}
    return [
        replace(gap, essential=not any(trained) or (any(trained[places[gap.stage] :]) and not liveness.alive))
        if gap.what == "stage" and gap.stage in places
        else gap
        for gap in gaps
    ]
