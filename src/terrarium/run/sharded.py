"""Saving a checkpoint whose files several processes write; the first of them begins and commits it.

As in `terrarium.run.checkpoint` it ends up whole and on the disk, or nothing has changed: a hidden folder,
all files, the manifest last, one rename. But here the files are examined after they were written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from terrarium.run import disk
from terrarium.run.commit import (
    check_space,
    complete,
    full_state,
    place_for_refused,
    refusal,
    settle,
    unsaved,
)
from terrarium.run.flaw import Flaw
from terrarium.run.folder import StageFolder
from terrarium.run.manifest import STATE, Entry, build_manifest, check_file_name
from terrarium.run.retention import hidden_name, tidy
from terrarium.run.sense import check_contents
from terrarium.run.tensors import Tensors, examine


def begin_shards(stage: StageFolder, step: int, size: int) -> Path:
    """Make a hidden folder for the shards of a step, `size` bytes in all.

    Raises:
        CheckpointError: there is no room, or the disk can't be written.
    """
    staging = hidden_name(stage.checkpoint_path(step), "staging")
    try:
        stage.checkpoints_path.mkdir(parents=True, exist_ok=True)
        tidy(stage)
        check_space(stage, step, size)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
    except OSError as error:
        raise unsaved(stage, step, error) from error
    return staging


def commit_shards(
    stage: StageFolder, step: int, staging: Path, *, state: Mapping[str, object], keep: int
) -> Path:
    """Make a checkpoint of the shards in a folder that `begin_shards` made.

    Args:
        stage: the stage that it is saved in.
        step: the training step that it belongs to.
        staging: holds the shards of all processes and nothing else.
        state: see `commit_checkpoint`.
        keep: see `commit_checkpoint`.

    Raises:
        RefusedStateError: it is empty, not finite, not the model's, or parts are missing; it is kept aside.
        CheckpointError: the disk can't be written.
    """
    whole_state = full_state(stage, step, state)
    try:
        entries, tensors = _examine_all(staging)
        check_contents(tensors, whole_state)
    except (Flaw, ValueError) as flaw:
        aside = staging.rename(place_for_refused(stage, step))
        raise refusal(stage, step, flaw, aside) from flaw
    except OSError as error:
        raise unsaved(stage, step, error) from error
    content = disk.dump_json(whole_state)
    manifest = build_manifest(
        kind=stage.name,
        step=step,
        run_id=stage.run_id,
        files={**entries, STATE: Entry.of(content)},
        tensors={name: found.table for name, found in tensors.items()},
    )
    final = stage.checkpoint_path(step)
    try:
        disk.write_durably(staging / STATE, content)
        complete(stage, staging, final, manifest)
    except OSError as error:
        raise unsaved(stage, step, error) from error
    settle(stage, final, keep)
    return final


def _examine_all(staging: Path) -> tuple[dict[str, Entry], dict[str, Tensors]]:
    """Entries and tensors of all files, which are synced to the disk; one file at a time is in memory."""
    entries, tensors = {}, {}
    for path in sorted(staging.iterdir()):
        content = path.read_bytes()
        entries[check_file_name(path.name)], tensors[path.name] = Entry.of(content), examine(content)
        disk.sync_file(path)
    return entries, tensors
