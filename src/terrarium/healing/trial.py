"""A cause is tried before it is believed: the same steps on the same batches, at this and at lower rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from torch import nn

from terrarium.config import Config
from terrarium.errors import TrainingError
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.history import read_history
from terrarium.run.rows import step_of
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.proof import replay
from terrarium.train.stages import Stage

FACTORS = (1.0, 1 / 3, 1 / 10)
COMPARED = 1 / 2  # the last part of the steps since the onset: the first ones differ little


@dataclass(frozen=True)
class Trials:
    """What was made of the steps that went wrong.

    Attributes:
        as_it_was: mean loss over the last of these steps, from the history.
        losses: rate factor -> the same when they are taken anew; infinite where a step was not finite or
            found no room.
    """

    as_it_was: float
    losses: dict[float, float]

    def passed(self, gain: float) -> bool:
        """Whether all is well with nothing changed: what went wrong was neither the rate nor the batches."""
        return _gains(self.losses.get(1.0, self.as_it_was), self.as_it_was, gain)

    def best(self, gain: float) -> float | None:
        """The factor that gains a share of the old rate's loss, or None: the rate is not to blame."""
        lower = {factor: loss for factor, loss in self.losses.items() if factor < 1}
        factor = min(lower, key=lower.__getitem__)
        return factor if _gains(lower[factor], self.losses.get(1.0, self.as_it_was), gain) else None

    def numbers(self) -> dict[str, float | None]:
        """For the record."""
        tried = {f"loss at rate x {factor:.3g}": loss for factor, loss in self.losses.items()}
        return {"loss as it was": self.as_it_was, **tried}


def _gains(loss: float, over: float, gain: float) -> bool:
    return loss < over - gain * abs(over) if math.isfinite(over) else math.isfinite(loss)


def try_rates(
    stage: Stage,
    untrained: nn.Module,
    folder: StageFolder,
    config: Config,
    start: Path | None,
    onset: int,
    stop: int,
    asked: Callable[[], str] = never,
) -> Trials:
    """Take the steps from a checkpoint to `stop` again, at the rate as it was and lower ones, on copies.

    Args:
        stage: that went wrong; its live model is left alone.
        untrained: a model before its first step, for where there is no checkpoint.
        folder: of the stage.
        config: of the run.
        start: a whole checkpoint, or None for the beginning.
        onset: the step at which it began to go wrong, not before `start`: losses are compared beyond it.
        stop: the step to end at; the history reaches it.
        asked: why to leave before that, "" to go on.

    Raises:
        Interrupted: it was asked to leave.
    """
    begin = checkpoint_step(start)
    count = max(1, round((stop - onset) * COMPARED))
    had = [
        row["loss"] for row in read_history(folder.history_path).rows if stop - count <= step_of(row) < stop
    ]
    known = [float(loss) for loss in had if isinstance(loss, int | float)]
    replayed = {}
    for factor in FACTORS:
        adjustments = Adjustments.read(folder).and_then(Adjustment(begin, factor))
        losses: list[float] = []
        try:
            replay(replace(stage, model=untrained), folder, config, start, stop, adjustments, losses, asked)
        except TrainingError:
            losses = [float("inf")]
        replayed[factor] = fmean(losses[-count:])
    return Trials(fmean(known) if known else float("inf"), replayed)
