"""What a person sees while something takes time: a line that moves, and now and then one that stays."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from itertools import pairwise
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from terrarium import launched

LINE_SECONDS = 10.0  # between lines if the output is not a terminal
RECENT = 100  # steps that the remaining time is estimated from
BLOCK = 10  # steps per median; the slowest and the fastest median are the ends of the band


class PatientConsole(Console):
    """Goes quiet where nobody reads any more; the usual one would end the program."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True


class ConsoleProgress:
    """A progress line on a terminal; plain lines every few seconds elsewhere.

    Use it as a context manager, so that the terminal is left as it was found.
    """

    def __init__(self, console: Console | None = None) -> None:
        # of several processes only the first one speaks
        self.console = console or PatientConsole(file=sys.stderr, highlight=False, quiet=launched.rank() > 0)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._ends: deque[tuple[int, float]] = deque(maxlen=RECENT + 1)
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with suppress(OSError):  # the disk of a log is full, or the terminal gone: training goes on
            self.console.print(text, markup=False, soft_wrap=True)

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the line: `done` of `total` things of `name`. A new name begins a new line."""
        if name != self._name or (self._ends and done < self._ends[-1][0]):
            self._begin(name)
        self._ends.append((done, time.monotonic()))
        note = "  ".join(part for part in (note, self._remaining(done, total)) if part)
        if self._task is None:
            self._task = self._bar.add_task(name, total=total, note=note)
        self._bar.update(self._task, completed=done, total=total, note=note)
        self._line(name, done, total, note)

    def step(self, stage: str, row: dict[str, float | int | str | None], steps: int) -> None:
        """Show that one of `steps` training steps was taken; `row` is its history row."""
        taken, loss, rate = row["step"], row["loss"], row["frames_per_second"]
        note = f"loss {loss:.4g}  {rate:.0f} frames/s" if isinstance(loss, float) else ""
        self.update(stage, int(taken or 0) + 1, steps, note)

    def _begin(self, name: str) -> None:
        self._name, self._task = name, None
        self._ends.clear()
        self._last_line = 0.0

    def _remaining(self, done: int, total: int) -> str:
        """The remaining time as a band, from medians of recent steps: one slow step is not a trend."""
        spans = [
            (later[1] - earlier[1]) / (later[0] - earlier[0])
            for earlier, later in pairwise(self._ends)
            if later[0] > earlier[0]
        ]
        if len(spans) < 3 or done >= total:
            return ""
        first = len(spans) % BLOCK if len(spans) >= BLOCK else 0  # the newest steps fill a block
        medians = [median(spans[start : start + BLOCK]) for start in range(first, len(spans), BLOCK)]
        least, most = (_clock(each * (total - done)) for each in (min(medians), max(medians)))
        return f"{least} left" if least == most else f"{least} to {most} left"

    def _line(self, name: str, done: int, total: int, note: str) -> None:
        if self.console.is_terminal:
            return
        now = time.monotonic()
        if done >= total or now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self.say(f"{name}  {done}/{total}  {note}".rstrip())


def _clock(seconds: float) -> str:
    """As minutes:seconds, or hours:minutes:seconds."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
