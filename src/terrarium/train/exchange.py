"""What processes that train together tell each other after every step, and the row that is kept of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Protocol

from terrarium.run.folder import StageFolder
from terrarium.train.distributed import Ranks

NAME = "ranks.jsonl"


class Portion(Protocol):
    """A batch, or our part of one."""

    def fingerprint(self) -> int:
        """Which clips it holds, as a number below 2**32."""
        ...


def processes_of(folder: StageFolder, step: int) -> int:
    """How many processes took the step that led to the checkpoint of `step`; one where nothing says so."""
    path, count = folder.path / NAME, 1
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that a kill tore
            row = json.loads(line)
            count = len(row["ready_seconds"]) if row["step"] == step - 1 else count
    return count


class Exchange:
    """After each step every process tells the others when it was ready for the first sum of the step, which
    clips it had, its clock, and whether it is asked to stop: all stop after the same step. The first writes a
    row.

    Args:
        folder: the stage's folder; gets `ranks.jsonl` if there are several processes.
        ranks: the processes that train together.
        asked: why this process is to stop, "" if it isn't.
    """

    def __init__(self, folder: StageFolder, ranks: Ranks, asked: Callable[[], str]) -> None:
        self._path, self._ranks, self._own = folder.path / NAME, ranks, asked
        self._agreed, self._since = "", time.monotonic()

    def asked(self) -> str:
        """Why all processes are to stop, "" if they aren't."""
        return self._own() if self._ranks.alone else self._agreed

    def after(self, step: int, batch: Portion) -> None:
        """A step was taken, on this batch."""
        if self._ranks.alone:
            return
        ready = self._ranks.meter.first_at or time.monotonic()
        mine = [ready - self._since, batch.fingerprint(), time.time(), float(bool(self._own()))]
        told = self._ranks.gathered(mine)
        self._since, self._ranks.meter.first_at = time.monotonic(), None
        if any(asks for *_, asks in told):
            self._agreed = self._own() or "another process is asked to stop"
        if self._ranks.is_first:
            seconds, prints, clocks, _ = zip(*told, strict=True)
            row = {
                "step": step,
                "ready_seconds": [round(each, 4) for each in seconds],
                "clips": [f"{int(each):08x}" for each in prints],
                "clock": [round(each, 3) for each in clocks],
            }
            with self._path.open(
                "a", encoding="utf-8"
            ) as file:  # one whole line, or part of one after a kill
                file.write(json.dumps(row) + "\n")
