"""Where training asks whether it may go on. What answers is passed in: training does not know the doctor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from terrarium.errors import TrainingError
from terrarium.train.adjustments import Adjustment
from terrarium.train.distributed import Ranks
from terrarium.train.interruption import never
from terrarium.train.state import TrainState


class Gate(Protocol):
    """Decides, every few steps, whether training may go on."""

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """None to go on, or where to go back to and what to change.

        Args:
            step: steps taken so far.
            last: whether this was the last step.
            asked: why training is to stop, "" if it isn't; if it is, nothing that takes long is begun.

        Raises:
            TerrariumError: training must not go on.
            Interrupted: training is to stop before a decision was reached; this state is not kept.
        """
        ...

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        """A step was refused: where to go back to and what to change.

        Raises:
            TerrariumError: training must not go on.
        """
        ...

    def passed(self, state: TrainState) -> None:
        """Training goes on with this state; it may be worth going back to."""
        ...


class SharedGate:
    """The gate of processes that train together: the first process asks its gate, and all follow.

    Args:
        gate: this process' gate; only that of the first process is asked.
        ranks: the processes that train together.
        every: steps between two questions.
    """

    def __init__(self, gate: Gate, ranks: Ranks, every: int) -> None:
        self._gate, self._ranks, self._every = gate, ranks, every

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """See `Gate.ask`."""
        if step % self._every and not last:
            return None

        def ask() -> dict[str, object] | None:
            back = self._gate.ask(step, last=last, asked=asked)
            return asdict(back) if back else None

        told = self._ranks.from_first(ask)
        return Adjustment(**told) if told else None

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        """See `Gate.answer`."""
        return Adjustment(**self._ranks.from_first(lambda: asdict(self._gate.answer(refusal, step))))

    def passed(self, state: TrainState) -> None:
        """Keeps nothing: states that are spread over processes are restored from checkpoints."""


class OpenGate:
    """Lets everything through."""

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> None:
        """Always goes on."""

    def passed(self, state: TrainState) -> None:
        """Keeps nothing."""

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:  # noqa: ARG002
        """Refuses to go on.

        Raises:
            TrainingError: the refusal itself.
        """
        raise refusal
