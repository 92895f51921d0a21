"""The state that saving refused last, put aside under a hidden name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from terrarium.doctor.readers.checkpoint_content import read_unit
from terrarium.doctor.readers.checkpoint_units import MOST_ENTRIES, Unit, folder_unit
from terrarium.doctor.readers.checkpoints import CHECKPOINTS
from terrarium.doctor.readers.file_window import open_window
from terrarium.doctor.readers.safetensors_file import read_safetensors
from terrarium.doctor.saved import Refused
from terrarium.run.flaw import Flaw
from terrarium.run.folder import parse_checkpoint_name
from terrarium.run.manifest import SHARD

MOST_DEEP_BYTES = 2**28
"""Larger ones are judged by their tables only, which also reveal an empty one."""

MOST_NAMED = 5
_NAME = re.compile(r"\.refused-(\w{1,200})-([0-9]{1,9})")
KNOWN_FLAWS = ("empty", "not-finite")


def read_refused(stage_path: Path) -> Refused | None:
    """What was put aside in a stage's `checkpoints/`, of several the one of the latest step; None if nothing.

    Args:
        stage_path: the stage's folder. Never raises for what it finds there.
    """
    try:
        found = [one for name in _names(stage_path / CHECKPOINTS) if (one := _parsed(name)) is not None]
    except OSError:
        return None
    if not found:
        return None
    step, process, name = max(found)
    folder = stage_path / CHECKPOINTS / name
    unit = folder_unit(folder, ours=False)
    reading = read_unit(unit, deep=unit.bytes <= MOST_DEEP_BYTES)
    flaw = reading.flaw if reading.flaw in KNOWN_FLAWS else ""
    detail, keys = reading.detail if flaw else "", _keys(unit)
    if keys == 0:
        detail = ", ".join(sorted(unit.names)[:MOST_NAMED])
    in_shards = any(re.fullmatch(SHARD, file) for file in unit.names)
    source = f"{stage_path.name}/{CHECKPOINTS}/{name}"
    return Refused(source, step, process, flaw, detail, keys, in_shards)


def _keys(unit: Unit) -> int | None:
    """How many tensors there are in its files; None where they can't all be counted."""
    counts = [_tensors(path) for path in unit.files]
    return sum(counts) if counts and min(counts) >= 0 else None


def _tensors(path: Path) -> int:
    try:
        with open_window(path) as window:
            return len(read_safetensors(window, deep=False).tensors)
    except (OSError, ValueError, Flaw):
        return -1


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        few = (entry for _, entry in zip(range(MOST_ENTRIES), entries, strict=False))
        return [entry.name for entry in few if entry.name.startswith(".refused-") and _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _parsed(name: str) -> tuple[int, int, str] | None:
    """(step, process, name) of `.refused-<stage>_step_N-<pid>`."""
    match = _NAME.fullmatch(name)
    named = parse_checkpoint_name(match[1]) if match else None
    return (named[1], int(match[2]), name) if match and named else None
