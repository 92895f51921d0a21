"""Turns whatever lies at some paths into evidence: the doctor's way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from terrarium.doctor.evidence import Evidence, Kind, Missing, StageEvidence
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.readers import absences, configs
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.readers.config_files import read_config
from terrarium.doctor.readers.histories import HistoryFile, read
from terrarium.doctor.readers.layout import Layout, StageFiles, lay_out
from terrarium.doctor.readers.liveness import liveness_of_files
from terrarium.doctor.readers.pictures import examine_pictures
from terrarium.doctor.readers.plan import Source, plan_of
from terrarium.doctor.readers.run_folder import read_run
from terrarium.doctor.readers.stage_names import free_name, in_training_order
from terrarium.doctor.readers.tree import STAGE_PARTS
from terrarium.errors import UsageError

NO_COLUMNS: Mapping[str, str] = {}
NO_VALUES: FloatArray = np.zeros(0)
MOST_COPIES = 3


def gather(
    paths: Sequence[Path],
    *,
    stage: str | None = None,
    columns: Mapping[str, str] = NO_COLUMNS,
    config: Path | None = None,
) -> Evidence:
    """Read all there is at some paths; what is missing or damaged is noted and passed over.

    Args:
        paths: a run folder of ours, a tree of results or one stage of it, or histories; several are joined.
        stage: the stage of histories whose names tell none.
        columns: our name of a column -> the name that the files have for it.
        config: a training configuration in YAML, JSON or TOML; it is believed first.

    Returns:
        The evidence, complete with the list of what could not be examined.

    Raises:
        RunError: a path does not exist, or is an output of ours that holds no history.
        UsageError: no path, or several runs of ours; or a configuration that was given can't be read.
    """
    layout = lay_out(paths, stage)
    asked = tuple(_asked(path) for path in [*([config] if config else []), *layout.asked])
    if layout.kind is Kind.RUN:
        evidence = read_run(layout.path, layout.only, asked)
        return replace(evidence, missing=evidence.missing + layout.missing)
    tree = _Tree(layout, columns, asked, list(layout.missing))
    for files in layout.stages:
        tree.read(files)
    return tree.evidence()


def _asked(config: Path) -> Source:
    try:
        return config.name, read_config(config.resolve())
    except (OSError, ValueError) as error:
        reason = "can't be read" if isinstance(error, OSError) else str(error)
        raise UsageError(f"{config} {reason}", "Give a configuration in YAML, JSON or TOML") from error


@dataclass
class _Tree:
    """A stranger's tree or histories while it is read, stage by stage."""

    layout: Layout
    columns: Mapping[str, str]
    asked: tuple[Source, ...]
    gaps: list[Missing]
    stages: dict[str, StageEvidence] = field(default_factory=dict)
    histories: list[Path] = field(default_factory=list)

    def read(self, files: StageFiles) -> None:
        """Read one stage, or the several stages that one history speaks of."""
        parts = self._best_copy(files)
        if (
            not files.named
            and not any(part.history for part in parts.values())
            and len(self.layout.stages) > 1
        ):
            self.gaps += [replace(gap, stage=None, essential=False) for gap in self._unread(files, parts)]
            return  # one of several files that happened to be no history
        own = next((name for name in ("", files.name) if name in parts), next(iter(parts), ""))
        if own and not files.named:
            files = replace(files, name=free_name(own, self.stages))
        first = parts.pop(own, None)
        if not (first and first.history and not files.named and self._repeats(first.history)):
            self._add(files, first)
        for name, part in parts.items():
            if part.history and not self._repeats(part.history):
                self._add(StageFiles(free_name(name, self.stages)), part)

    def _best_copy(self, files: StageFiles) -> dict[str, HistoryFile]:
        """The copy with the most rows; other copies are read only where it lost some."""
        best: dict[str, HistoryFile] = {}
        for path in files.histories[:MOST_COPIES]:
            parts = read(path, self.columns)
            if not best or _rows(parts) > _rows(best):
                best = parts
            if all(part.history and not part.damaged for part in best.values()):
                break
        return best

    def _add(self, files: StageFiles, part: HistoryFile | None) -> None:
        name, folder = files.name, files.folder
        source = self._told(part.path) if part and part.history else ""
        checkpoints, unread = examine_checkpoints(folder, None) if folder else ((), ())
        pictures, unseen = examine_pictures(folder) if folder else ((), ())
        sources = [*self.asked, *configs.logged(part, source), *configs.near(self.layout, files)]
        self.stages[name] = stage = StageEvidence(
            name,
            self.layout.kind,
            source,
            sources[0][1] if sources else {},
            plan_of(name, sources),
            part.history if part else None,
            {},
            checkpoints,
            tuple(replace(picture, stage=name) for picture in pictures),
        )
        self.gaps += [replace(gap, stage=name) for gap in (*unread, *unseen)]
        self.gaps += absences.of_stage(stage, folder)
        if part and part.history:
            self.gaps += absences.of_history(name, part.history, source)
            self.histories.append(part.path)
        else:
            self.gaps += self._unread(files, {"": part} if part else {})

    def _unread(self, files: StageFiles, parts: Mapping[str, HistoryFile]) -> Iterator[Missing]:
        for part in parts.values():
            yield Missing(files.name, "history", part.reason, self._told(part.path), essential=True)
        if not parts:
            yield Missing(files.name, "history", "none-found", files.name, essential=True)

    def _repeats(self, history: History) -> bool:
        """Whether the same rows were read already under another name."""
        return any(_same(history, stage.history) for stage in self.stages.values() if stage.history)

    def _told(self, path: Path) -> str:
        """A path as the report shows it: relative to what was given, or its last two parts."""
        top = self.layout.path
        if top in path.parents:
            return path.relative_to(top).as_posix()
        return path.name if path == top else "/".join(path.parts[-2:])

    def evidence(self) -> Evidence:
        """What was read, with the stages in training order."""
        stages = {name: self.stages[name] for name in in_training_order(self.stages)}
        folders = [files.folder for files in self.layout.stages if files.folder]
        beside = [folder / part for folder in folders for part in STAGE_PARTS]
        liveness = liveness_of_files(self.histories, list(stages.values()), beside=beside)
        return Evidence(self.layout.path, self.layout.kind, {}, stages, {}, liveness, tuple(self.gaps))


def _rows(parts: Mapping[str, HistoryFile]) -> int:
    return sum(part.history.rows for part in parts.values() if part.history)


def _same(one: History, other: History) -> bool:
    losses = [history.columns.get("loss", NO_VALUES) for history in (one, other)]
    return np.array_equal(one.steps, other.steps) and np.array_equal(losses[0], losses[1], equal_nan=True)
