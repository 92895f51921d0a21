"""What processes that train together tell each other after every step, and the row that is kept of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from terrarium.errors import RankLostError
from terrarium.run.folder import StageFolder
from terrarium.train.distributed import GO_ON, Ranks
from terrarium.train.interruption import Interrupted

NAME = "ranks.jsonl"
ANOTHER = "another process was asked to stop"


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
    """What processes tell each other after each step.

    That is when each was ready for the first sum of the step, which clips it had, its clock, and whether it
    is asked to stop: all stop after the same step. The first process writes a row.

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

    def leave(self, where: str) -> NoReturn:
        """End training, which is saved; a process that was not asked itself leaves to be started again.

        A launcher takes an end without an error for the end of the job. Where one machine of several is taken
        away, the launchers of the others must go on, or wait for it.

        Raises:
            Interrupted: this process was asked.
            RankLostError: another one was.
        """
        why = self._own() or self._agreed or "asked to stop"
        if why != ANOTHER:
            raise Interrupted(f"{why} {where}: saved")
        lost = RankLostError(f"{why} {where}: saved", GO_ON)
        lost.told = not self._ranks.is_first
        raise lost

    def after(self, step: int, batch: Portion) -> None:
        """A step was taken, on this batch."""
        if self._ranks.alone:
            return
        ready = self._ranks.meter.first_at or time.monotonic()
        mine = [ready - self._since, batch.fingerprint(), time.time(), float(bool(self._own()))]
        told = self._ranks.gathered(mine)
        self._since, self._ranks.meter.first_at = time.monotonic(), None
        if any(asks for *_, asks in told):
            self._agreed = self._own() or ANOTHER
        if self._ranks.is_first:
            seconds, prints, clocks, _ = zip(*told, strict=True)
            row = {
                "step": step,
                "ready_seconds": [round(each, 4) for each in seconds],
                "clips": [f"{int(each):08x}" for each in prints],
                "clock": [round(each, 3) for each in clocks],
            }
            # one whole line, or part of one after a kill
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
