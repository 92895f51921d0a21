"""Which of the configurations in a tree a stage was trained by, the surest first.

A configuration counts for a stage where it lies in the stage's folder, or in (or in `configs/` of) a folder
above its checkpoints or its history, or where it is W&B's of the same run. TinyWorlds lays its
`training.yaml` over the one of the stage, so that comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from terrarium.doctor.readers.config_files import read_config, unwrap
from terrarium.doctor.readers.histories import HistoryFile
from terrarium.doctor.readers.layout import Layout, StageFiles
from terrarium.doctor.readers.plan import Source
from terrarium.doctor.readers.stage_names import stage_named

GENERAL = ("training", "train", "config", "configuration", "hparams", "args", "training_args", "params")
"""Names of configurations that are not of one stage alone, the surest first."""

MOST_CONFIGS = 50
_WANDB_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(?P<id>\w+)")


def near(layout: Layout, files: StageFiles) -> list[Source]:
    """The configurations of one stage: what is no configuration, damaged or too large is passed over."""
    ranked = sorted(
        (rank, place, path)
        for place, path in enumerate(layout.configs[: MOST_CONFIGS * 20])
        if (rank := _rank(path, files)) is not None
    )
    return list(_read((path for _, _, path in ranked[:MOST_CONFIGS]), layout.path))


def logged(part: HistoryFile | None, source: str) -> list[Source]:
    """The configuration that a history carries, as W&B's does."""
    return [(source, unwrap(part.config))] if part and part.config else []


def _read(paths: Iterable[Path], top: Path) -> Iterator[Source]:
    for path in paths:
        try:
            yield _shown(path, top), read_config(path)
        except (OSError, ValueError):
            continue


def _rank(path: Path, files: StageFiles) -> tuple[int, int] | None:
    """How sure it is that this is the stage's configuration, the surest first; None where it is not."""
    wandb = [match for folder in path.parents if (match := _WANDB_RUN.fullmatch(folder.name))]
    if wandb:
        return (1, 0) if any(wandb[0]["id"] in history.name for history in files.histories) else None
    own = files.folder
    if own and own in path.parents:
        return 2, 0
    homes = [home for home in (own, *files.histories) if home]
    above = {folder for home in homes for folder in home.parents}
    if not any(folder in above for folder in (path.parent, path.parent.parent)):
        return None
    named = stage_named(path.stem)
    if named is None and path.stem in GENERAL:
        return 3, GENERAL.index(path.stem)
    return (4, 0) if named == files.name else None


def _shown(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix() if top in path.parents else "/".join(path.parts[-2:])
