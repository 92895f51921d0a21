"""Notices when training stands still: progress means steps, not a living process."""

from __future__ import annotations

import contextlib
import faulthandler
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TextIO

from terrarium.run import disk

NAME = "stalls.txt"
MEDIAN_STEPS = 6.0
RECENT = 50  # steps whose median is the usual time
UNKNOWN = 5.0  # times as patient before the first step has shown how long one takes
PAUSED = 40.0  # times as patient during an announced pause
LOOKS = 10  # polls within the least time


class Watchdog:
    """Reports it once when training takes no step for too long, and writes down the stack of every thread.

    A stall is `max(least_seconds, 6 x the median step)` without a step. Announced pauses (saving, pictures,
    gates) may last forty times as long. It runs in its own thread; if something keeps Python from running at
    all, a timer of the interpreter still writes the stacks.

    Args:
        folder: the stage's folder; gets `stalls.txt` if there is something to write.
        least_seconds: shorter pauses are never called a stall.
        say: prints a line.
        who: which of several processes this is, for the name of the file.

    Use it as a context manager.
    """

    def __init__(self, folder: Path, least_seconds: float, say: Callable[[str], None], who: str = "") -> None:
        self._path = folder / (f"stalls-{who}.txt" if who else NAME)
        self._least, self._say = least_seconds, say
        self._spans: deque[float] = deque(maxlen=RECENT)
        self._doing, self._since, self._told = "", time.monotonic(), False
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._file: TextIO = self._path.open("a", encoding="utf-8")
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        with contextlib.suppress(OSError):  # a full disk is for others to tell
            self._file.close()
            if not self._path.stat().st_size:
                self._path.unlink()

    def stepped(self) -> None:
        """A step was taken."""
        with self._lock:
            self._spans.append(time.monotonic() - self._since)
            self._begin("")

    @contextlib.contextmanager
    def pause(self, what: str) -> Iterator[None]:
        """While open, no step is expected."""
        with self._lock:
            self._begin(what)
        try:
            yield
        finally:
            with self._lock:
                self._begin("")

    def limit(self) -> float:
        """Seconds without a step that count as a stall now."""
        if not self._spans:
            return UNKNOWN * self._least
        usual = max(self._least, MEDIAN_STEPS * median(self._spans))
        return PAUSED * usual if self._doing else usual

    def _begin(self, doing: str) -> None:
        now = time.monotonic()
        if self._told:
            self._note(f"it went on after {now - self._since:.0f} s")
        self._doing, self._since, self._told = doing, now, False

    def _watch(self) -> None:
        pause = min(1.0, self._least / LOOKS)
        while not self._over.wait(pause):
            with self._lock:
                limit, idle = self.limit(), time.monotonic() - self._since
                if idle > limit and not self._told:
                    self._told = True
                    where = f", {self._doing}" if self._doing else ""
                    self._note(f"no step for {idle:.0f} s{where}; {limit:.0f} s at most are usual")
                    faulthandler.dump_traceback(self._file)
            # in case this thread can't run either
            faulthandler.dump_traceback_later(limit + 2 * pause, file=self._file)

    def _note(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk is reported elsewhere
            self._file.write(f"{disk.now()} {text}\n")
            self._file.flush()
        self._say(f"{text}: see {self._path}")
