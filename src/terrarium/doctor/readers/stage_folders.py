"""Folders of stages and runs: their names, their age, and who wrote them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

from terrarium.doctor.readers.stage_names import UNNAMED, stage_named, stage_of_folder
from terrarium.doctor.readers.tree import STAGE_PARTS
from terrarium.run.folder import STAGES

_TIME = re.compile(r"(\d{4})\D?(\d\d)\D?(\d\d)\D?(\d\d)\D?(\d\d)\D?(\d\d)")


def is_run(path: Path) -> bool:
    """Whether a folder is a run of ours, even one that has hardly begun or has lost its `run.json`."""
    try:
        names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    except OSError:
        return False
    begun = any((path / name / "history.jsonl").is_file() for name in STAGES)
    return "run.json" in names or begun or names <= {"footage"}


def newest_folders(folders: Iterable[Path], stage: str | None = None) -> tuple[dict[str, Path], list[Path]]:
    """Stage -> its newest folder that holds something, and all the other folders.

    Args:
        folders: with `checkpoints/` or `visualizations/`.
        stage: the name for a single stage, and for folders that tell none.
    """
    by_name: dict[str, list[Path]] = {}
    for folder in folders:
        by_name.setdefault(folder_name(folder, stage), []).append(folder)
    if stage and len(by_name) == 1:
        by_name = {stage: next(iter(by_name.values()))}
    newest, older = {}, []
    for name, candidates in by_name.items():
        candidates.sort(key=lambda folder: (_has_content(folder), made_at(folder)))
        newest[name] = candidates[-1]
        older += candidates[:-1]
    return newest, older


def folder_name(folder: Path, stage: str | None = None) -> str:
    """A stage folder's stage: by its name, by the names in it, by `stage`, else its own name."""
    inside = (stage_named(path.name) for part in STAGE_PARTS for path in _some(folder / part))
    told = stage_of_folder(folder.name) or next((name for name in inside if name), stage)
    return told or (UNNAMED if _TIME.search(folder.name) else folder.name)


def made_at(folder: Path) -> float:
    """When a folder was made, in seconds since 1970: by the time in its path, else by its own."""
    for part in (folder, *folder.parents):
        match = _TIME.search(part.name)
        if match:
            try:
                return time.mktime(time.strptime(" ".join(match.groups()), "%Y %m %d %H %M %S"))
            except (ValueError, OverflowError):
                continue
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _has_content(folder: Path) -> bool:
    return any(_some(folder / part, 1) for part in STAGE_PARTS)


def _some(folder: Path, most: int = 100) -> list[Path]:
    try:
        return [path for path, _ in zip(folder.iterdir(), range(most), strict=False)]
    except OSError:
        return []
