"""Ctrl-C and the termination signal of a cluster: finish the step, save, exit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn, Self


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked
    """Training was asked to stop, and stopped; its state is saved."""


def never() -> str:
    """Why training is to stop, where nobody can ask it to."""
    return ""


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """While open, SIGINT and SIGTERM raise `Interrupted`: between stages nothing waits to be saved."""
    before = {number: signal.signal(number, _leave) for number in Interruption.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(f"{signal.Signals(number).name} while no step was under way: nothing is lost")


class Interruption:
    """While open, the first SIGINT or SIGTERM only sets `asked`; the second one stops at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked: str | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
