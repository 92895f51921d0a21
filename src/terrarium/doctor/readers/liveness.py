"""Whether something still trains: by the run's lock, else by how fresh what it writes is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from terrarium.doctor.evidence import Liveness, StageEvidence
from terrarium.doctor.history import FloatArray
from terrarium.run.lock import is_held

LEAST_SECONDS = 90.0
MEDIAN_STEPS = 6.0
"""Rows are old after `max(90 s, 6 x the median time between them)`."""

SAME_MOMENT_SECONDS = 60.0
LONG_RUN_SECONDS = 3600.0
MOST_FILES = 500
RECENT_ROWS = 1000


def liveness_of_run(run_path: Path, stages: Sequence[StageEvidence], now: float | None = None) -> Liveness:
    """Whether a run of ours is alive: by its lock, else by its files.

    Args:
        run_path: its folder.
        stages: what its stages left behind.
        now: seconds since 1970; the present if None.
    """
    held = is_held(run_path)
    found = liveness_of_files([run_path / stage.source for stage in stages if stage.source], stages, now)
    if held is None:
        return found
    return replace(found, alive=held, how="lock-held" if held else "lock-free")


def liveness_of_files(
    histories: Sequence[Path],
    stages: Iterable[StageEvidence],
    now: float | None = None,
    beside: Iterable[Path] = (),
) -> Liveness:
    """Whether anything else is alive: by the time at which its newest file was written.

    An export (JSON is written whole, and so is a CSV with a JSON beside it) tells when it was made, not when
    a row was logged: then checkpoints and pictures tell. Where all was written within a minute although
    training took hours, the files were copied, and tell nothing.

    Args:
        histories: the files that were read.
        stages: what was read from them.
        now: seconds since 1970; the present if None.
        beside: folders of checkpoints and pictures.
    """
    now = time.time() if now is None else now
    logged = [moment for path in histories if not _is_export(path) for moment in _written([path])]
    others = list(_written(beside))
    everything = [*logged, *others, *_written(path for path in histories if _is_export(path))]
    if not everything:
        return Liveness()
    idle = max(0.0, round(now - max(logged or everything)))
    clocks = [clock for stage in stages if (clock := stage.series("runtime")[1]).size > 1]
    span = sum(float(clock.max() - clock.min()) for clock in clocks)
    if (
        len(everything) > 1
        and max(everything) - min(everything) < SAME_MOMENT_SECONDS
        and span > LONG_RUN_SECONDS
    ):
        return Liveness(None, "copied", idle)
    if not logged and len(others) < 2:
        return Liveness(None, "unknown", idle)
    gaps = [_typical(np.diff(clock[-RECENT_ROWS:])) for clock in clocks]
    if not logged:
        gaps.append(_typical(np.diff(np.sort(others))))
    alive = now - max([*logged, *others]) <= max([LEAST_SECONDS, *(MEDIAN_STEPS * gap for gap in gaps)])
    return Liveness(alive, "rows-fresh" if alive else "rows-old", idle)


def _is_export(path: Path) -> bool:
    return path.suffix == ".json" or (path.suffix == ".csv" and path.with_suffix(".json").is_file())


def _written(paths: Iterable[Path]) -> Iterator[float]:
    """When each file was written, and each one in a folder, in seconds since 1970."""
    for path in paths:
        try:
            inside = path.iterdir() if path.is_dir() else [path]
            yield from (entry.lstat().st_mtime for entry, _ in zip(inside, range(MOST_FILES), strict=False))
        except OSError:
            continue


def _typical(gaps: FloatArray) -> float:
    forward = gaps[gaps > 0]
    return float(np.median(forward)) if forward.size else 0.0
