"""What safety costs, measured inside the run: seconds that went into saving, history and gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from terrarium.errors import RunError
from terrarium.run.folder import StageFolder, read_json, write_json

NAME = "overhead.json"


@dataclass
class Overhead:
    """Seconds by purpose, added up over resumes; written when the `with` block ends, however it ends.

    Args:
        folder: the stage's folder.

    Attributes:
        seconds: "steps" (the whole loop), "guard" (checking that a step is sound), "history", "gates",
            "pictures", "saving" (while training waited) and "writer" (CPU time of the thread that writes
            checkpoints).
        meters: accounts that are kept elsewhere and read at the end.
    """

    folder: StageFolder
    seconds: dict[str, float] = field(default_factory=dict)
    meters: dict[str, Callable[[], float]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.add("steps", time.monotonic() - self._began)
        for name, meter in self.meters.items():
            self.add(name, meter())
        try:
            self.write()
        except RunError:
            if error is None:  # else a disk that is full is told already, by what it kept from being done
                raise

    def add(self, name: str, seconds: float) -> None:
        """Add to one account."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add the time that the `with` block takes to an account."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def write(self) -> None:
        """Write the accounts, added to those of earlier runs of the stage.

        Raises:
            RunError: the folder can't be written.
        """
        total = Overhead(self.folder, _known(self.folder))
        for name, seconds in self.seconds.items():
            total.add(name, seconds)
        rounded = {name: round(seconds, 3) for name, seconds in total.seconds.items()}
        write_json(self.folder.path / NAME, {"format": 1, "seconds": rounded})


def _known(folder: StageFolder) -> dict[str, float]:
    try:
        tree = read_json(folder.path / NAME)
    except RunError:
        return {}
    seconds = tree.get("seconds") if isinstance(tree, dict) else None
    accounts = seconds.items() if isinstance(seconds, dict) else ()
    return {str(name): float(value) for name, value in accounts if isinstance(value, int | float)}
