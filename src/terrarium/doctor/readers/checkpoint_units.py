"""Which files make up one checkpoint: a folder, a file, or several files of one step."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from terrarium.doctor.readers.distributed import METADATA
from terrarium.run.folder import parse_checkpoint_name
from terrarium.run.manifest import MANIFEST

TENSOR_FILES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
MOST_ENTRIES = 100_000
MOST_FILES = 1000
"""Of one checkpoint."""

_COUNTED = re.compile(r"(?:step|iter(?:ation)?|update)s?[ =_-]?(\d{1,15})(?!\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<!\d)(\d{1,15})(?!\d)")
_NO_STEP = re.compile(r"(?<![a-z])(?:version|run|exp|fold|seed|rank|v)[ =_-]?\d+", re.IGNORECASE)
_ROLES = re.compile(
    r"model|weights?|net(?:work)?|module|params?|optim(?:izer)?|sched(?:uler)?|ema|scaler|rng|states?|dict",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Unit:
    """The files of one checkpoint.

    Attributes:
        name: of its folder or file.
        path: of the folder, or of its first file.
        step: named by it; -1 where there is none.
        counts_steps: whether the name says that the number is a step; else it may be an epoch.
        ours: whether it is one of Terrarium's, with a manifest that says all about it.
        files: those that hold tensors, except distributed ones.
        distributed: folders of distributed checkpoints in it.
        bytes: of all its files.
    """

    name: str
    path: Path
    step: int = -1
    counts_steps: bool = False
    ours: bool = False
    files: tuple[Path, ...] = ()
    distributed: tuple[Path, ...] = ()
    bytes: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of tensor files not written by Terrarium."""
        return not self.ours and self.path not in self.files

    @property
    def is_collection(self) -> bool:
        """Whether it is a folder of several checkpoints: its files name different steps."""
        parts = [path.relative_to(self.path).parts for path in (*self.files, *self.distributed)]
        inside = {step_of(names[0])[0] for names in parts if names}
        return self.is_folder and self.step < 0 and len(inside - {-1}) > 1

    @property
    def names(self) -> frozenset[str]:
        """Its files, relative to its folder."""
        return frozenset(path.relative_to(self.path).as_posix() for path in self.files)


@dataclass
class _Found:
    files: list[Path] = field(default_factory=list)
    distributed: list[Path] = field(default_factory=list)
    bytes: int = 0
    every: tuple[Path, ...] = ()


def find_units(folder: Path, *, ours: bool, depth: int = 1) -> list[Unit]:
    """The checkpoints in a folder by rising step; hidden names and links are passed over.

    Args:
        folder: `checkpoints/`.
        ours: whether it is known to lie in a run of Terrarium's.
        depth: how many folders below it are entered that hold several checkpoints.

    Raises:
        OSError: it can't be read.
    """
    units: list[Unit] = []
    files: dict[tuple[int, str], list[os.DirEntry[str]]] = {}
    if (folder / METADATA).is_file():
        return [folder_unit(folder, ours=False)]
    below: list[Path] = []
    with os.scandir(folder) as entries:
        for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                units.append(folder_unit(Path(entry.path), ours))
                below += [units[-1].path] if units[-1].is_collection else []
            elif entry.name.endswith(TENSOR_FILES):
                step = step_of(entry.name)[0]
                role_free = _ROLES.sub("", Path(entry.name).stem) if step >= 0 else entry.name
                files.setdefault((step, role_free), []).append(entry)
    units += [_file_unit(group) for group in files.values()]
    for path in below if depth else ():
        units += find_units(path, ours=False, depth=depth - 1)
    units = [unit for unit in units if unit.path not in below]
    return sorted((unit for unit in units if unit.files or unit.distributed or _looks_like(unit)), key=_order)


def expected_files(units: Sequence[Unit]) -> frozenset[str]:
    """Files that most checkpoint folders, and at least two, have; a folder that lacks one is incomplete."""
    folders = [unit for unit in units if unit.is_folder]
    counts = Counter(name for unit in folders for name in unit.names)
    return frozenset(name for name, count in counts.items() if count > max(1, len(folders) / 2))


def marks(unit: Unit) -> tuple[tuple[int, int], ...]:
    """Sizes and times of its files: if they differ from a moment ago, it is being written."""
    folders = [unit.path, *unit.distributed] if unit.is_folder else []
    inside = [path for folder in folders for path in _look_into(folder).every]
    found = []
    for path in sorted({*unit.files, *inside}):
        try:
            status = path.lstat()
        except OSError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return tuple(found)


def step_of(name: str) -> tuple[int, bool]:
    """The step in a name, and whether the name calls it a step: ("dynamics_step_44000") -> (44000, True)."""
    counted = _COUNTED.findall(name)
    numbers = counted or _NUMBER.findall(_NO_STEP.sub("", name))
    return (int(numbers[-1]), bool(counted)) if numbers else (-1, False)


def _looks_like(unit: Unit) -> bool:
    """Whether a folder without anything to read is a checkpoint that lost its files, or one of ours."""
    return unit.ours or unit.counts_steps


def _order(unit: Unit) -> tuple[int, int, str]:
    """Sort key: by step, or by the time of writing where the name gives no step."""
    written = 0
    if unit.step < 0:
        try:
            written = unit.path.lstat().st_mtime_ns
        except OSError:
            written = 0
    return unit.step, written, unit.name


def folder_unit(path: Path, ours: bool) -> Unit:
    """One folder as a checkpoint, whatever its name.

    Args:
        path: of the folder.
        ours: whether it is known to lie in a run of Terrarium's.
    """
    named = parse_checkpoint_name(path.name)
    if (ours and named) or (path / MANIFEST).is_file():
        size = _look_into(path).bytes
        return Unit(path.name, path, named[1] if named else -1, bool(named), True, bytes=size)
    found = _look_into(path)
    for inner in _folders(path):
        below = _look_into(inner)
        found.files += below.files
        found.distributed += below.distributed
        found.bytes += below.bytes
    step, counts = step_of(path.name)
    files, distributed = tuple(found.files[:MOST_FILES]), tuple(found.distributed[:MOST_FILES])
    return Unit(path.name, path, step, counts, False, files, distributed, found.bytes)


def _file_unit(group: list[os.DirEntry[str]]) -> Unit:
    paths = sorted(Path(entry.path) for entry in group)
    step, counts = step_of(paths[0].name)
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} + {len(paths) - 1}"
    return Unit(name, paths[0], step, counts, False, tuple(paths[:MOST_FILES]), (), sum(map(_size, paths)))


def _look_into(folder: Path) -> _Found:
    found = _Found()
    try:
        entries = sorted(path for path, _ in zip(folder.iterdir(), range(MOST_ENTRIES), strict=False))
    except OSError:
        return found
    found.every = tuple(entries[:MOST_FILES])
    found.bytes = sum(map(_size, entries))
    if folder / METADATA in entries:
        found.distributed.append(folder)
    found.files = [path for path in entries if path.name.endswith(TENSOR_FILES) and not path.is_dir()]
    return found


def _folders(path: Path) -> Iterable[Path]:
    try:
        return sorted(inner for inner in path.iterdir() if inner.is_dir() and not inner.is_symlink())[
            :MOST_FILES
        ]
    except OSError:
        return []


def _size(path: Path) -> int:
    """Bytes of a file; 0 where the system does not say."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0
