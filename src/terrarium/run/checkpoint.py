"""Saving a checkpoint so that it is either whole or not there at all, and reading it back.

The commit, step by step (`docs/run-folder.md` says what a kill between any two steps leaves):

1. refuse a state that is empty, not finite or not the model's, and one that the disk has no room for;
2. write and fsync every file in a hidden folder, the manifest last; fsync the folder; read it all back;
3. one rename to `<stage>_step_N`, fsync the parent: from here on the checkpoint counts;
4. `latest`, then retention.

Only the holder of the run's lock saves, one checkpoint at a time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from terrarium.errors import CheckpointError
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
from terrarium.run.folder import StageFolder, parse_checkpoint_name
from terrarium.run.manifest import (
    MANIFEST,
    STATE,
    Entry,
    Manifest,
    build_manifest,
    check_file_name,
    parse_manifest,
    read_manifest,
)
from terrarium.run.retention import hidden_name, tidy, write_latest
from terrarium.run.sense import check_contents
from terrarium.run.shards import join_files
from terrarium.run.survey import newest_valid
from terrarium.run.tensors import Tensors, examine
from terrarium.run.verify import Judgement, judge


class _Draft(NamedTuple):
    """A checkpoint that may be written: its files, and the manifest, parsed and as bytes."""

    blobs: dict[str, bytes]
    manifest: Manifest
    manifest_bytes: bytes


def commit_checkpoint(
    stage: StageFolder, step: int, files: Mapping[str, bytes], *, state: Mapping[str, object], keep: int
) -> Path:
    """Save a checkpoint: afterwards it is there, whole and on the disk, or nothing has changed.

    An existing checkpoint of the same step is left alone if it is the same, and otherwise replaced (it was
    damaged, or a roll-back came between); one of another run is moved to a hidden name and kept.

    Args:
        stage: the stage that it is saved in.
        step: the training step that it belongs to, 0 to 10**15 - 1.
        files: safetensors bytes by name: `model.safetensors`, and optionally `ema.safetensors`,
            `optimizer.safetensors` (with `<parameter>/exp_avg`, `/exp_avg_sq` and `/step`) and more.
        state: goes to `state.json`, to which `format`, `kind`, `step` and `run_id` are added. It must hold
            `parameters`, {name: [dtype, shape]} of the live model, and `trained`, the names that the
            optimizer moves. JSON only: no tensors, keys are text, numbers are finite.
        keep: how many of the newest valid checkpoints to keep, at least 1. This one is always kept.

    Returns:
        The folder of the checkpoint.

    Raises:
        RefusedStateError: it is empty, not finite or not the model's. The refused state is kept under a
            hidden name, in place of the one refused before.
        CheckpointError: there is no room, or the disk can't be written. In both cases earlier checkpoints
            are untouched, and nothing half-written is left.
    """
    if keep < 1:
        raise CheckpointError(
            f"keep is {keep}: the newest valid checkpoint is never removed", "Give at least 1"
        )
    draft = _draft(stage, step, files, state)
    final = stage.checkpoint_path(step)
    try:
        stage.checkpoints_path.mkdir(parents=True, exist_ok=True)
        tidy(stage)
        if not _is_saved(final, draft.manifest):
            check_space(stage, step, sum(map(len, (*draft.blobs.values(), draft.manifest_bytes))))
            _write(stage, final, draft)
    except OSError as error:
        raise unsaved(stage, step, error) from error
    settle(stage, final, keep)
    return final


def recover(stage: StageFolder) -> tuple[Path | None, list[Judgement]]:
    """`newest_valid`, after cleaning up what a kill left: hidden folders of dead writers, and `latest`.

    To be called by the holder of the run's lock, before training goes on.

    Raises:
        CheckpointError: the folder can't be written.
    """
    if not stage.checkpoints_path.is_dir():
        return None, []
    try:
        tidy(stage)
        newest, passed_over = newest_valid(stage)
        write_latest(stage, newest)
    except OSError as error:
        raise CheckpointError(
            f"{stage.checkpoints_path} can't be written: {disk.why(error)}",
            "Check who may write there, then resume",
        ) from error
    return newest, passed_over


def read_files(path: Path) -> dict[str, bytes]:
    """The safetensors bytes of a checkpoint by name, as `commit_checkpoint` got them, each sha256 checked.

    Shards that several processes wrote are joined.

    Raises:
        CheckpointError: a file is missing or was changed.
    """
    manifest = _read_manifest(path)
    blobs = {name: _read_file(path, manifest, name) for name in manifest.files if name != STATE}
    try:
        return join_files(blobs)
    except ValueError as error:
        raise CheckpointError(f"the shards in {path} {error}") from error


def read_state(path: Path) -> dict[str, object]:
    """The content of a checkpoint's `state.json`, after checking its sha256.

    Raises:
        CheckpointError: it is missing or was changed.
    """
    state = disk.parse_json(_read_file(path, _read_manifest(path), STATE))
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE} is not a JSON object")
    return state


def _draft(stage: StageFolder, step: int, files: Mapping[str, bytes], state: Mapping[str, object]) -> _Draft:
    if parse_checkpoint_name(stage.checkpoint_path(step).name) != (stage.name, step):
        raise CheckpointError(f"{step!r} is not the step of a checkpoint: 0 to 10**15 - 1 are")
    whole_state = full_state(stage, step, state)
    try:
        tensors = {check_file_name(name): _examine(name, blob) for name, blob in files.items()}
        check_contents(tensors, whole_state)
        blobs = {**files, STATE: disk.dump_json(whole_state)}
        entries = {name: Entry.of(blob) for name, blob in blobs.items()}
        tables = {name: found.table for name, found in tensors.items()}
        content = build_manifest(
            kind=stage.name, step=step, run_id=stage.run_id, files=entries, tensors=tables
        )
        return _Draft(blobs, parse_manifest(content), content)
    except (Flaw, ValueError, TypeError) as flaw:
        raise refusal(stage, step, flaw, _put_aside(stage, step, files)) from flaw


def _put_aside(stage: StageFolder, step: int, files: Mapping[str, bytes]) -> Path | None:
    """Keep a refused state; None if that can't be written either."""
    aside = place_for_refused(stage, step)
    try:
        aside.mkdir(parents=True)
        for name, blob in files.items():
            (aside / check_file_name(name)).write_bytes(blob)
    except (OSError, ValueError):
        shutil.rmtree(aside, ignore_errors=True)
        return None
    return aside


def _examine(name: str, blob: bytes) -> Tensors:
    try:
        return examine(blob)
    except ValueError as error:
        raise Flaw(f"{name} {error}") from error


def _is_saved(final: Path, manifest: Manifest) -> bool:
    try:
        same = read_manifest(final).files == manifest.files
    except (OSError, ValueError):
        return False
    return same and judge(final, run_id=manifest.run_id, kind=manifest.kind).whole


def _write(stage: StageFolder, final: Path, draft: _Draft) -> None:
    staging = hidden_name(final, "staging")
    try:
        staging.mkdir()
        for name, blob in draft.blobs.items():
            disk.write_durably(staging / name, blob)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    complete(stage, staging, final, draft.manifest_bytes)


def _read_manifest(path: Path) -> Manifest:
    try:
        return read_manifest(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / MANIFEST} can't be read: {error}") from error


def _read_file(path: Path, manifest: Manifest, name: str) -> bytes:
    entry = manifest.files[name]
    try:
        content = disk.read_bounded(path / name, entry.size)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / name} can't be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"{path / name} does not match its sha256: it was changed after saving",
            "terrarium verify says what to fall back on",
        )
    return content
