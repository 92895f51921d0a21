"""A live run, examined again whenever its files change; only changes of the diagnosis are reported."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.report import REPORTS

MOST_FILES = 100_000
PATIENCE = 6  # looks at unchanged files, after which the run is examined anyway
Signature = frozenset[tuple[str, int, int]]


def signature(paths: Sequence[Path]) -> Signature:
    """(path, bytes, time of change) of every file below some paths: equal while nothing was written.

    Our own reports, hidden files and links do not count, and no more than 100,000 files are looked at.
    """
    found: set[tuple[str, int, int]] = set()
    for path in _files(paths):
        try:
            known = os.lstat(path)
        except OSError:
            continue  # gone since it was listed
        found.add((path, known.st_size, known.st_mtime_ns))
        if len(found) >= MOST_FILES:
            break
    return frozenset(found)


def _files(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        if not path.is_dir():
            yield str(path)
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (
                str(Path(folder) / name) for name in names if not name.startswith(".") and name not in REPORTS
            )


def state(diagnosis: Diagnosis) -> tuple[object, ...]:
    """What is reported when it changes: the verdicts, and the leading findings with their severity."""
    leads = {
        (finding.stage, finding.code, finding.severity)
        for finding in diagnosis.findings
        if finding.caused_by is None
    }
    return diagnosis.verdict, tuple(diagnosis.stages.items()), frozenset(leads)


def follow(
    paths: Sequence[Path],
    examine: Callable[[], Diagnosis],
    *,
    interval: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Diagnosis]:
    """The diagnosis of a live run: at the beginning, then whenever verdicts or leading findings change.

    The run is examined again when its files change, and now and then when they do not, since it may have
    ended or stalled. This ends when no process writes the run any more; if that can't be told, it does not
    end.

    Args:
        paths: whose files are watched, by size and time.
        examine: reads and concludes anew.
        interval: seconds between two looks at the files.
        sleep: waits so many seconds.
    """
    seen, said, silent = None, None, 0
    while True:
        now = signature(paths)
        silent = silent + 1 if now == seen else 0
        if silent % PATIENCE == 0:
            seen, diagnosis = now, examine()
            if state(diagnosis) != said:
                said = state(diagnosis)
                yield diagnosis
            if diagnosis.evidence.liveness.alive is False:
                return
        sleep(interval)
