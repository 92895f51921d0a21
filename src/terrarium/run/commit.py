"""The steps that every commit of a checkpoint takes, whether one process wrote its files or several did.

The whole protocol stands in `terrarium.run.checkpoint`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from terrarium.errors import CheckpointError, RefusedStateError
from terrarium.run import disk
from terrarium.run.folder import StageFolder
from terrarium.run.manifest import FORMAT, MANIFEST
from terrarium.run.retention import hidden_name, retain, tidy, write_latest
from terrarium.run.verify import judge

SPARE_BYTES = 2**20  # what the file system itself needs for a few new files
_log = logging.getLogger(__name__)


def full_state(stage: StageFolder, step: int, state: Mapping[str, object]) -> dict[str, object]:
    """The complete content of `state.json`.

    Raises:
        CheckpointError: it contradicts the checkpoint that it is for, or can't be written as JSON.
    """
    own = {"format": FORMAT, "kind": stage.name, "step": step, "run_id": stage.run_id}
    for key, value in state.items():
        if key in own and value != own[key]:
            raise CheckpointError(f"the state says {key} {value!r}, the checkpoint is of {own[key]!r}")
        try:
            disk.dump_json(value)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"the key {key!r} of the state can't be saved: {error}") from error
    return {**own, **state}


def check_space(stage: StageFolder, step: int, size: int) -> None:
    """Refuse to begin a checkpoint of `size` bytes that the disk has no room for.

    Raises:
        CheckpointError: less is free than that and what the file system itself needs.
    """
    needed = size + SPARE_BYTES
    free = shutil.disk_usage(stage.checkpoints_path).free
    if free < needed:
        raise CheckpointError(
            f"the checkpoint of step {step} needs {needed:,} bytes, "
            f"and {free:,} are free in {stage.checkpoints_path}",
            "Earlier checkpoints are untouched; free some space, then resume",
        )


def complete(stage: StageFolder, staging: Path, final: Path, manifest: bytes) -> None:
    """Turn a hidden folder of durable files into a checkpoint: manifest, reading back, one rename.

    If that fails the hidden folder is removed.

    Raises:
        CheckpointError: the disk gives back other bytes than it was given.
        OSError: the disk can't be written.
    """
    try:
        disk.failpoint("commit:files")
        disk.write_durably(staging / MANIFEST, manifest)
        disk.sync_folder(staging)
        disk.failpoint("commit:staged")
        read_back = judge(staging, level=1)
        if not read_back.whole:
            raise CheckpointError(
                f"the disk gives back other bytes than it was given for {final.name}: {read_back.reason}",
                "Earlier checkpoints are untouched; save to another disk",
            )
        _publish(stage, staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _publish(stage: StageFolder, staging: Path, final: Path) -> None:
    """Rename to the final name and move aside what has it now; `tidy` undoes that after a kill in between."""
    aside = None
    if os.path.lexists(final):
        foreign = judge(final, level=0, run_id=stage.run_id).foreign
        aside = final.rename(hidden_name(final, "foreign" if foreign else "replaced"))
        disk.failpoint("commit:aside")
    try:
        staging.rename(final)
    except OSError:
        if aside:
            aside.rename(final)
        raise
    disk.sync_folder(final.parent)
    disk.failpoint("commit:renamed")


def settle(stage: StageFolder, final: Path, keep: int) -> None:
    """The steps after a checkpoint counts: `latest` and retention."""
    try:
        write_latest(stage, final)
        disk.failpoint("commit:latest")
        retain(stage, final, keep)
        tidy(stage)
    except OSError as error:  # it counts already, and the next commit tries again
        _log.warning("after saving %s: %s", final.name, error)


def place_for_refused(stage: StageFolder, step: int) -> Path:
    """Where a refused state is kept, for finding the reason; what was refused before is removed.

    It has no manifest, so it never counts as a checkpoint.
    """
    for old in stage.checkpoints_path.glob(".refused-*"):
        shutil.rmtree(old, ignore_errors=True)
    return hidden_name(stage.checkpoint_path(step), "refused")


def refusal(stage: StageFolder, step: int, flaw: Exception, aside: Path | None) -> RefusedStateError:
    """The error about a state that must not be saved; it is kept in `aside`, if that could be written."""
    return RefusedStateError(
        f"the checkpoint of step {step} of {stage.name} is refused: {flaw}",
        f"Earlier checkpoints are untouched{f'; the refused state lies in {aside}' if aside else ''}",
    )


def unsaved(stage: StageFolder, step: int, error: OSError) -> CheckpointError:
    """The error about a checkpoint that the disk did not take."""
    return CheckpointError(
        f"the checkpoint of step {step} can't be saved in {stage.checkpoints_path}: {disk.why(error)}",
        "Earlier checkpoints are untouched; mend the disk or free some space, then resume",
    )
