"""What PATH is: which stages there are, and where each one's history, checkpoints and pictures lie.

A report is about one run. Its stages may lie in different folders (`results/<time>/<stage>`) and their
histories beside them (`Logs/`); where a stage was trained several times, the newest one that left something
is taken, and the others are named as not examined.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from terrarium.doctor.evidence import Kind, Missing
from terrarium.doctor.readers.copies import Copies, group_copies, stem
from terrarium.doctor.readers.stage_folders import is_run, made_at, newest_folders
from terrarium.doctor.readers.stage_names import UNNAMED, free_name, stage_of
from terrarium.doctor.readers.tree import (
    CONFIG_NAMES,
    CONFIG_SUFFIXES,
    NO_HISTORIES,
    STAGE_PARTS,
    Pieces,
    configs_in,
    walk,
)
from terrarium.errors import RunError, UsageError

MOST_STAGES = 12
HIGHER = 3  # folders above what was given where its Logs/ and configs/ may lie
LOGS, CONFIGS = ("Logs", "logs"), ("configs", "config")
WANTED = "Give a run folder, a tree of results, or histories"


@dataclass(frozen=True)
class StageFiles:
    """Where one stage's evidence lies.

    Attributes:
        name: the stage's name.
        folder: holds `checkpoints/` and `visualizations/`; None where only a history was found.
        histories: copies of one history, the longest first.
        named: whether a name was found or given, rather than made up.
    """

    name: str
    folder: Path | None = None
    histories: tuple[Path, ...] = ()
    named: bool = True


@dataclass(frozen=True)
class Layout:
    """What PATH is.

    Attributes:
        path: what was given, or the folder that holds all that was given.
        kind: of it.
        only: of a run of ours (then `path` is its folder) the one stage that was asked for; None for all.
        stages: what was found; empty for a run of ours, which is read by its own reader.
        configs: files that may hold the training's configuration.
        asked: configurations that were given by name.
        missing: what was found but is not examined.
    """

    path: Path
    kind: Kind
    only: str | None = None
    stages: tuple[StageFiles, ...] = ()
    configs: tuple[Path, ...] = ()
    asked: tuple[Path, ...] = ()
    missing: tuple[Missing, ...] = ()


@dataclass
class _Given:
    """All that was given: folders, files, configurations, what they hold, histories in a `Logs/` beside."""

    tops: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    configs: list[Path] = field(default_factory=list)
    pieces: Pieces = field(default_factory=Pieces)
    beside: list[Path] = field(default_factory=list)

    @property
    def path(self) -> Path:
        given = [*self.tops, *self.files] or self.configs
        return given[0] if len(given) == 1 else Path(os.path.commonpath([path.parent for path in given]))

    def shown(self, path: Path) -> str:
        """A path as the report shows it: relative to what was given, or its last two parts."""
        return (
            path.relative_to(self.path).as_posix() if self.path in path.parents else "/".join(path.parts[-2:])
        )


def lay_out(paths: Sequence[Path], stage: str | None = None) -> Layout:
    """Find out what was given.

    Args:
        paths: one or several files and folders; a link that is given is followed, others are not.
        stage: the name for what has none, and for a single stage whatever it is called.

    Raises:
        RunError: something is not there, or was written by Terrarium and is no history.
        UsageError: nothing, or several runs of ours were given.
    """
    given = _given(paths)
    ours = _ours(given)
    if ours:
        return ours
    folders, older = newest_folders(given.pieces.stage_folders, stage)
    old = [*given.pieces.runs, *older]
    stages, passed_over = _stages(given, folders, older, stage)
    missing = [Missing(None, "older-run", "not-newest", given.shown(path)) for path in old]
    missing += [Missing(name, "other-history", "not-newest", given.shown(path)) for name, path in passed_over]
    missing += [Missing(files.name, "stage", "too-many", str(MOST_STAGES)) for files in stages[MOST_STAGES:]][
        :1
    ]
    if given.pieces.cut_short:
        missing.append(Missing(None, "part-of-tree", "too-large", "", essential=not stages))
    if not stages:
        missing.append(Missing(None, "everything", "nothing-found", given.path.name, essential=True))
    return Layout(
        path=given.path,
        kind=Kind.TREE if folders or not stages else Kind.HISTORY,
        stages=tuple(stages[:MOST_STAGES]),
        configs=tuple(dict.fromkeys([*given.pieces.configs, *_configs_beside(given)])),
        asked=tuple(given.configs),
        missing=tuple(missing),
    )


def _given(paths: Sequence[Path]) -> _Given:
    given = _Given()
    if not paths:
        raise UsageError("no path was given", WANTED)
    for path in dict.fromkeys(path.resolve() for path in paths):
        if path.is_dir():
            top = path.parent if path.name in STAGE_PARTS else path
            given.tops.append(top)
            given.pieces.add(walk(top))
            continue
        if not path.exists():
            raise RunError(f"{path} does not exist", WANTED)
        if path.suffix in CONFIG_SUFFIXES or path.name in CONFIG_NAMES:
            given.configs.append(path)
            continue
        if NO_HISTORIES.fullmatch(path.name):
            raise RunError(f"{path.name} was written by Terrarium and is no history", "Give the run folder")
        given.files.append(path)
        given.pieces.histories.append(path)
    if given.pieces.stage_folders and not given.pieces.histories:
        given.beside = [found for folder in _beside(given.tops, LOGS) for found in walk(folder).histories]
    return given


def _ours(given: _Given) -> Layout | None:
    """The Terrarium run in what was given, unless something newer of another trainer lies there."""
    runs = [top for top in given.tops if is_run(top)]
    stages = [top for top in given.tops if top in given.pieces.stage_folders and is_run(top.parent)]
    if len(runs) > 1 or len(stages) > 1:
        raise UsageError("several runs or stages of Terrarium's were given", "Give one at a time")
    if stages:
        return Layout(stages[0].parent, Kind.RUN, stages[0].name, asked=tuple(given.configs))
    found = sorted(runs or given.pieces.runs, key=made_at)
    foreign = [] if runs else given.pieces.stage_folders
    if not found or any(made_at(folder) > made_at(found[-1]) for folder in foreign):
        return None
    missing = [
        Missing(None, "older-run", "not-newest", given.shown(path)) for path in [*found[:-1], *foreign]
    ]
    missing += [Missing(None, "other-history", "has-its-own", given.shown(path)) for path in given.files]
    return Layout(found[-1], Kind.RUN, asked=tuple(given.configs), missing=tuple(missing[:MOST_STAGES]))


def _stages(
    given: _Given, folders: dict[str, Path], older: list[Path], stage: str | None
) -> tuple[list[StageFiles], list[tuple[str, Path]]]:
    """The stages, and (stage, history) of what is passed over."""
    named: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    for path in dict.fromkeys([*given.pieces.histories, *given.beside]):
        name = _history_stage(path, given, folders)
        if any(folder in (path, *path.parents) for folder in older):
            continue
        if name is None:
            unnamed.append(path)
        elif name in folders or path not in given.beside:
            named.setdefault(name, []).append(path)
    if stage and not folders and len(named) + bool(unnamed) == 1:
        unnamed, named = [*unnamed, *(path for paths in named.values() for path in paths)], {}
    if unnamed and len(folders) == 1 and not named:
        named, unnamed = {next(iter(folders)): unnamed}, []
    stages, passed_over = _named(given, folders, named)
    return stages + _unnamed(unnamed, stage, [files.name for files in stages]), passed_over


def _history_stage(path: Path, given: _Given, folders: dict[str, Path]) -> str | None:
    """The stage whose folder a history lies in, else the one that its path speaks of, else None."""
    inside = [name for name, folder in folders.items() if folder in (path, *path.parents)]
    tops = [top for top in given.tops if top in (path, *path.parents)]
    return inside[0] if len(inside) == 1 else stage_of(path, tops[0] if tops else path.parent)


def _named(
    given: _Given, folders: dict[str, Path], named: dict[str, list[Path]]
) -> tuple[list[StageFiles], list[tuple[str, Path]]]:
    """One history per stage: in its folder, else the newest, else the longest; and all given by name."""
    stages: list[StageFiles] = []
    passed_over: list[tuple[str, Path]] = []
    for name in dict.fromkeys([*folders, *named]):
        folder = folders.get(name)
        found = sorted(
            group_copies(named.get(name, [])), key=lambda one: (one.inside(folder), one.age, one.rows)
        )
        stages.append(StageFiles(name, folder, found[-1].paths if found else ()))
        for one in found[:-1]:
            if set(one.paths) & set(given.files):
                free = free_name(name, [files.name for files in stages])
                stages.append(StageFiles(free, None, one.paths))
            else:
                passed_over += [(name, path) for path in one.paths]
        passed_over += [(name, path) for one in found for path in one.shorter]
    return stages, passed_over


def _unnamed(paths: list[Path], stage: str | None, taken: list[str]) -> list[StageFiles]:
    """Histories without a stage: `training` where it is the only one, else each under its file's name."""
    found: list[Copies] = sorted(group_copies(paths), key=lambda one: one.paths)
    stages: list[StageFiles] = []
    for one in found:
        wanted = stage or (stem(one.paths[0]) if len(found) > 1 else UNNAMED)
        name = free_name(wanted, [*taken, *(files.name for files in stages)])
        stages.append(StageFiles(name, None, one.paths, named=bool(stage)))
    return stages


def _configs_beside(given: _Given) -> list[Path]:
    near = [path for file in given.files for path in configs_in(file.parent)]
    folders = _beside([*given.tops, *given.files], CONFIGS)
    return near + [path for folder in folders for path in configs_in(folder)]


def _beside(tops: Iterable[Path], names: tuple[str, ...]) -> list[Path]:
    """The nearest folders of this name above what was given."""
    found = []
    for top in tops:
        above = [folder / name for folder in top.parents[:HIGHER] for name in names]
        found += [path for path in above if path.is_dir() and not path.is_symlink()][:1]
    return list(dict.fromkeys(found))
