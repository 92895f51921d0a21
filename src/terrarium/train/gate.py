"""Where training asks whether it may go on. Who answers stands above: training knows no doctor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from terrarium.errors import TrainingError
from terrarium.train.adjustments import Adjustment
from terrarium.train.interruption import never


class Gate(Protocol):
    """Who decides, now and then, whether training may go on."""

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """After so many steps: None to go on, or where to go back to and what to change.

        Args:
            step: steps taken.
            last: whether this was the last one.
            asked: why training is to leave, "" where it isn't: nobody waits then for what takes long.

        Raises:
            TerrariumError: training must not go on.
            Interrupted: training is to leave, before it was decided: this state is not kept.
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

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> None:
        """Always goes on."""

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:  # noqa: ARG002
        """Knows no way on.

        Raises:
            TrainingError: the refusal itself.
        """
        raise refusal
