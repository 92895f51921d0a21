"""A cause is tried before it is believed: the same steps on the same batches, at lower learning rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from torch import nn

from terrarium.config import Config
from terrarium.errors import TrainingError
from terrarium.run.folder import StageFolder
from terrarium.run.history import read_history
from terrarium.run.rows import step_of
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.proof import replay
from terrarium.train.stages import Stage

FACTORS = (1 / 3, 1 / 10)
COMPARED = 1 / 3  # the last part of the replayed steps: the first ones differ little


@dataclass(frozen=True)
class Trials:
    """What lower rates made of the steps that went wrong.

    Attributes:
        as_it_was: mean loss over the last of these steps, from the history.
        losses: rate factor -> the same when they are taken anew; infinite where a step was not finite.
    """

    as_it_was: float
    losses: dict[float, float]

    def best(self, gain: float) -> float | None:
        """The factor that gains a share of the old rate's loss, or None: the rate is not to blame."""
        factor = min(self.losses, key=self.losses.__getitem__)
        return factor if self.losses[factor] < self.as_it_was - gain * abs(self.as_it_was) else None

    def numbers(self) -> dict[str, float | None]:
        """For the record."""
        tried = {f"loss at rate x {factor:.3g}": loss for factor, loss in self.losses.items()}
        return {"loss as it was": self.as_it_was, **tried}


def try_rates(
    stage: Stage,
    untrained: nn.Module,
    folder: StageFolder,
    config: Config,
    start: Path | None,
    stop: int,
    asked: Callable[[], str] = never,
) -> Trials:
    """Take the steps from a checkpoint to `stop` again, at a third and a tenth of the rate, on copies.

    Args:
        stage: that went wrong; its live model is left alone.
        untrained: a model before its first step, for where there is no checkpoint.
        folder: of the stage.
        config: of the run.
        start: a whole checkpoint, or None for the beginning.
        stop: the step to end at; the history reaches it.
        asked: why to leave before that, "" to go on.

    Raises:
        Interrupted: it was asked to leave.
    """
    begin = int(start.name.rsplit("_", 1)[1]) if start else 0
    count = max(1, round((stop - begin) * COMPARED))
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
