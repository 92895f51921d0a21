"""A stage's training loss as the loss detectors see it: worked out once for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.evidence import Plan, StageEvidence
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.statistics.blocks import (
    Blocks,
    baseline,
    block_medians,
    block_rows,
    smooth,
    spread,
)

LEAST_ROWS = 30  # fewer say nothing about a level
EARLY = 0.02  # a history that begins later than this share of its last step is a tail
WARM = 0.2  # a learning rate that still rises beyond this share of the rows is no warm-up
GUESSING = ("dynamics", "training")  # stages whose loss is a cross-entropy over `Plan.codes`


@dataclass(frozen=True, eq=False)
class LossCurve:
    """The finite losses of the rows that count, and what they look like on their natural scale.

    A loss that stays positive is judged by its logarithm: its noise and its descent are multiplicative, and
    0.05 is 5 % anywhere. Any other is divided by its typical size, so that 0.05 is 5 % of that.

    Attributes:
        name: the stage's name.
        file: the history's.
        plan: what the training was told to do.
        history: its rows that count.
        rows: place of each loss among those rows [N].
        steps: step of each loss [N].
        loss: the losses [N], all finite.
    """

    name: str
    file: str
    plan: Plan
    history: History
    rows: NDArray[np.int64]
    steps: FloatArray
    loss: FloatArray

    @property
    def count(self) -> int:
        """N, the number of finite losses."""
        return self.loss.size

    @cached_property
    def positive(self) -> bool:
        """Whether the logarithm is the scale: all but a few strays are above 0."""
        return bool(np.count_nonzero(self.loss <= 0) <= 0.005 * self.count)

    @cached_property
    def unit(self) -> float:
        """The typical size of a loss that changes its sign."""
        low, middle, high = np.quantile(self.loss, (0.1, 0.5, 0.9))
        return float(max(abs(middle), high - low, 1e-300))

    @cached_property
    def level(self) -> FloatArray:
        """The losses on their natural scale [N]."""
        if not self.positive:
            return np.clip(self.loss / self.unit, -1e6, 1e6)
        floor = float(self.loss[self.loss > 0].min()) if (self.loss > 0).any() else 1.0
        return np.log(np.maximum(self.loss, floor))

    def back(self, level: float) -> float:
        """A loss from its natural scale."""
        return math.exp(min(level, 700.0)) if self.positive else level * self.unit

    @cached_property
    def blocks(self) -> Blocks:
        """Medians of blocks of `level`."""
        return block_medians(self.level, block_rows(self.count))

    @cached_property
    def rest(self) -> FloatArray:
        """What is left of `level` when a smooth curve is taken away [N]: the noise from row to row."""
        return self.level - baseline(self.level, max(8, min(32, self.count // 8)))

    @cached_property
    def noise(self) -> float:
        """Robust standard deviation of the noise from row to row, after the first tenth."""
        return spread(self.rest[self.count // 10 :])

    @cached_property
    def first(self) -> float:
        """Level of the first rows: few, because a loss falls fast at first."""
        return float(np.median(self.level[: max(3, min(10, self.count // 100))]))

    @cached_property
    def last(self) -> float:
        """Level of the last tenth, at least three blocks."""
        return float(np.median(self.level[-max(3 * self.blocks.size, self.count // 10) :]))

    @cached_property
    def best(self) -> float:
        """The lowest level of three neighbouring blocks."""
        return float(smooth(self.blocks.medians).min())

    @cached_property
    def whole(self) -> bool:
        """Whether the history begins where training began, or close to it."""
        return bool(self.steps[0] <= max(100.0, EARLY * self.steps[-1]))

    @cached_property
    def rate(self) -> FloatArray | None:
        """The learning rate of each loss [N], NaN where none was logged; None where none ever was."""
        rate = self.history.column("learning_rate")
        return None if rate is None else rate[self.rows]

    @cached_property
    def warm(self) -> int:
        """Rows of warm-up: until the planned step, or until the learning rate stops rising."""
        planned = self.plan.warmup_steps
        if planned is not None:
            return int(np.searchsorted(self.steps, planned))
        if self.rate is None or not np.isfinite(self.rate).any():
            return 0
        full = float(np.nanmax(self.rate))
        peak = int(np.argmax(self.rate >= 0.99 * full))
        logged = self.rate[np.isfinite(self.rate)]
        only_rises = peak >= 0.95 * self.count and bool((np.diff(logged) >= -0.01 * full).all())
        return peak if (peak <= WARM * self.count or only_rises) and logged[0] < 0.7 * full else 0

    @property
    def guessing(self) -> tuple[str, float] | None:
        """What guessing reaches, undivided: how that is known, and the loss; None where nothing says.

        Of several declared levels the highest: a model that knows nothing.
        """
        declared = [
            (level, name)
            for name, level in self.plan.chance_levels.items()
            if math.isfinite(level) and level > 0
        ]
        if declared:
            level, name = max(declared)
            return name, level
        codes = self.plan.codes
        if codes is not None and codes > 1 and self.name.endswith(GUESSING):
            return f"ln {codes}", math.log(codes)
        return None

    def step(self, row: int) -> int:
        """The step of a row [N]."""
        return int(self.steps[min(row, self.count - 1)])


_CURVES: WeakKeyDictionary[StageEvidence, LossCurve | None] = WeakKeyDictionary()


def loss_curve(stage: StageEvidence) -> LossCurve | None:
    """The loss of a stage, or None where it logged fewer than `LEAST_ROWS` finite ones."""
    if stage not in _CURVES:
        _CURVES[stage] = _curve(stage)
    return _CURVES[stage]


def _curve(stage: StageEvidence) -> LossCurve | None:
    loss = stage.kept.column("loss")
    if loss is None:
        return None
    rows = np.flatnonzero(np.isfinite(loss))
    if rows.size < LEAST_ROWS:
        return None
    return LossCurve(
        stage.name, stage.source, stage.plan, stage.kept, rows, stage.kept.steps[rows], loss[rows]
    )
