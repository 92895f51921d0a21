"""Where training asks whether it may go on. Who answers stands above: training knows no doctor."""

from __future__ import annotations

from typing import Protocol

from terrarium.errors import TrainingError
from terrarium.train.adjustments import Adjustment


class Gate(Protocol):
    """Who decides, now and then, whether training may go on."""

    def ask(self, step: int, *, last: bool) -> Adjustment | None:
        """After so many steps: None to go on, or where to go back to and what to change.

        Raises:
            TerrariumError: training must not go on.
        """
        ...

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        """A step was refused: where to go back to and what to change.

        Raises:
            TerrariumError: training must not go on.
        """
        ...


class OpenGate:
    """Lets everything through."""

    def ask(self, step: int, *, last: bool) -> None:
        """Always goes on."""

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:  # noqa: ARG002
        """Knows no way on.

        Raises:
            TrainingError: the refusal itself.
        """
        raise refusal
