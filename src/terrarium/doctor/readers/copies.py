"""Which files hold the same history: its CSV and its JSON, exports of one run made at different times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from terrarium.doctor.readers.tree import rows_roughly

MOMENT = 120.0  # seconds within which files count as written together
_EXPORT = re.compile(r".*_history_(?P<id>[^_]+)_.+")
_OFFLINE = re.compile(r"run-(?P<id>[A-Za-z0-9]+)")


@dataclass(frozen=True)
class Copies:
    """One history, in one file or several.

    Attributes:
        paths: files that hold all of it, the longest first.
        shorter: exports of the same run that hold less.
        age: when the newest was written, in units of two minutes; 0 where unknown.
        rows: about how many rows it has; 0 where there is but one file, or unknown.
    """

    paths: tuple[Path, ...]
    shorter: tuple[Path, ...] = ()
    age: int = 0
    rows: int = 0

    def inside(self, folder: Path | None) -> bool:
        """Whether it lies in a folder."""
        return folder is not None and any(folder in (path, *path.parents) for path in self.paths)


def group_copies(paths: Iterable[Path]) -> list[Copies]:
    """Group files of one history, by the run's id in the name, else by folder and stem."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(_key(path), []).append(path)
    several = len(groups) > 1
    return [_copies(group, several) for group in groups.values()]


def stem(path: Path) -> str:
    """A history's name: its file without the suffix, or for TensorBoard its folder."""
    return path.name if path.is_dir() else path.stem


def _copies(group: list[Path], several: bool) -> Copies:
    rows = {path: rows_roughly(path) if several or len(group) > 1 else 0 for path in group}
    group.sort(key=lambda path: (-rows[path], path.name))
    longest = group[0]
    same = [path for path in group if stem(path) == stem(longest) or rows[path] >= rows[longest] - 1]
    shorter = [path for path in group if path not in same]
    return Copies(tuple(same), tuple(shorter), int(max(map(_mtime, group)) / MOMENT), rows[longest])


def _key(path: Path) -> str:
    offline = _OFFLINE.fullmatch(path.stem) if path.suffix == ".wandb" else None
    match = _EXPORT.fullmatch(path.stem) or offline
    return match["id"] if match else f"{path.parent}/{stem(path)}"


def _mtime(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
