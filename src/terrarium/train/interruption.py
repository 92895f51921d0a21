"""Ctrl-C, the termination signal of a cluster, a terminal that closes: finish the step, save, exit."""

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


def _signals() -> tuple[signal.Signals, ...]:
    """Those that ask to stop. Under `nohup` a closing terminal does not."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else []))


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """While open, signals raise `Interrupted`: between stages nothing waits to be saved."""
    before = {number: signal.signal(number, _leave) for number in _signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(f"{signal.Signals(number).name} while no step was under way: nothing is lost")


class Interruption:
    """While open, the first SIGINT, SIGTERM or SIGHUP only sets `asked`; the second one stops at once.

    A terminal that closes may say so twice, itself and through its shell: that is the same once more.
    """

    def __init__(self) -> None:
        self.asked: str | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._ask) for number in _signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = signal.Signals(number).name
        elif number != signal.SIGHUP:
            raise KeyboardInterrupt
