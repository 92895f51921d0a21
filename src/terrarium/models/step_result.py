"""What a model gives for a batch. One loop trains three models because this is all it knows of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """The outcome of one forward pass.

    Attributes:
        loss: scalar, undivided, a mean over (a share of) a batch; its unit is the stage's.
        measures: the stage's own figures, scalars without gradient, by the name of their history column.
        weight: what the loss counts for in the mean over a whole batch, scalar without gradient; None for the
            number of rows.
        weights: the same for measures that count for something else.
    """

    loss: Tensor
    measures: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
