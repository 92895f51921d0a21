"""Steps of a stage taken again on copies: at other rates, or on one batch alone. Nothing is written."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from torch import nn

from terrarium.config import Config
from terrarium.errors import NotFiniteError, OutOfMemoryError, TrainingError
from terrarium.healing.decisions import Trouble
from terrarium.healing.trial import FACTORS, LOSS, Plan, Trials, plan_trial, sign_of
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.rows import Row, read_history, step_of
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.proof import replay, take_steps
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState

LEAST_BEFORE = 4  # rows before the onset that are needed to know the level there


def try_rates(
    stage: Stage,
    untrained: nn.Module,
    folder: StageFolder,
    config: Config,
    start: Path | None,
    trouble: Trouble,
    measure: str = LOSS,
    asked: Callable[[], str] = never,
) -> Trials:
    """Repeat the steps from a checkpoint to beyond an onset, on copies, at the same rate and at lower ones.

    If they run out of memory every batch is cut in two, as training itself would do.

    Args:
        stage: the stage that went wrong; its live model is not touched.
        untrained: the model before its first step, to begin with if there is no checkpoint.
        folder: the stage's folder; its history reaches the step at which the trouble was seen.
        config: the run's configuration.
        start: a whole checkpoint from before the onset, or None for the beginning.
        trouble: what went wrong.
        measure: the history column that shows it.
        asked: why to stop early, "" to go on.

    Raises:
        Interrupted: it was asked to stop.
    """
    had, sign = _column(folder, measure), sign_of(measure)
    plan = plan_trial(checkpoint_step(start), trouble, config.gates, stage.config.steps)
    if plan is None:
        return Trials((), {}, measure=measure)
    compared = range(plan.compare, plan.stop)
    earlier = [had[step] for step in range(trouble.onset - len(compared), trouble.onset) if step in had]
    before = sign * fmean(earlier) if len(earlier) >= LEAST_BEFORE else None
    as_it_was = [sign * had.get(step, math.nan) for step in compared]
    again: dict[float, Sequence[float]] = {}
    parts, most = 1, stage.config.batch_size // stage.config.gradient_accumulation
    while not again and most % parts == 0:
        try:
            ways = _take_again(replace(stage, model=untrained), folder, config, start, plan, parts, asked)
        except OutOfMemoryError:
            parts *= 2
        else:
            again = {factor: _series(rows, measure, compared) for factor, rows in ways.items()}
    return Trials(as_it_was, again, before, measure, plan)


def _take_again(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    start: Path | None,
    plan: Plan,
    parts: int,
    asked: Callable[[], str],
) -> dict[float, list[Row]]:
    """The rows at each rate; they end at a step that was not finite."""
    made = (*Adjustments.read(folder).made, Adjustment(plan.begin, accumulation_factor=parts))
    ways: dict[float, list[Row]] = {factor: [] for factor in FACTORS}
    try:
        fork = replay(stage, folder, config, start, plan.part, Adjustments(made), asked=asked)
    except OutOfMemoryError:
        raise
    except TrainingError:
        return ways
    for factor, rows in ways.items():
        changed = Adjustments((*made, Adjustment(plan.part, factor)))
        try:
            take_steps(copy.deepcopy(fork), stage, config, plan.stop, changed, rows, asked)
        except OutOfMemoryError:
            raise
        except TrainingError:
            continue
    return ways


def bad_in_a_row(stage: Stage, untrained: nn.Module, config: Config, first: int, most: int) -> int:
    """How many batches in a row, from number `first` on, give even an untrained model a NaN or infinite loss.

    Such batches are bad by themselves: neither rate nor weights are to blame.
    """
    fresh = replace(stage, model=untrained)
    count = 0
    while count < most and _is_bad(fresh, config, first + count):
        count += 1
    return count


def _is_bad(stage: Stage, config: Config, number: int) -> bool:
    state = TrainState.begin(copy.deepcopy(stage.model), stage.config)
    one = Adjustments((Adjustment(0, skip_batches=number),))
    try:
        take_steps(state, stage, config, 1, one)
    except NotFiniteError:
        return True
    except TrainingError:  # no room, for one: that says nothing of the batch
        return False
    return False


def _column(folder: StageFolder, measure: str) -> dict[int, float]:
    rows = read_history(folder.history_path).rows
    return {step_of(row): float(value) for row in rows if isinstance(value := row.get(measure), int | float)}


def _series(rows: Sequence[Row], measure: str, compared: range) -> list[float]:
    values = {step_of(row): row.get(measure) for row in rows}
    known = [values.get(step) for step in compared]
    return [sign_of(measure) * value if isinstance(value, int | float) else math.inf for value in known]
