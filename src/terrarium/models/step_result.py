"""What a model returns for a batch. One loop can train three models because this is all it knows of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """The outcome of one forward pass.

    Attributes:
        loss: scalar, a mean over a batch or our share of it, not divided by anything; in the stage's unit.
        measures: the stage's own figures, scalars without gradient, by the name of their history column.
        weight: weight of this loss in the mean over a whole batch, scalar without gradient; None for the
            number of rows.
        weights: weights of those measures that are weighted differently.
    """

    loss: Tensor
    measures: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
