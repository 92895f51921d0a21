"""What stays in a `checkpoints/` folder: `latest`, retention, and cleaning up what a kill left."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import StageFolder, checkpoint_step, parse_checkpoint_name, read_json, write_json
from terrarium.run.manifest import STATE
from terrarium.run.survey import LATEST, list_checkpoints
from terrarium.run.verify import judge

PINNED = "pinned.json"
_HIDDEN = re.compile(r"\.(staging|replaced|removed)-(\w+)-([0-9]{1,9})")


def write_latest(stage: StageFolder, checkpoint: Path | None) -> None:
    """Let `latest` name this checkpoint, or remove it if there is none.

    Raises:
        OSError: the disk can't be written.
    """
    latest = stage.checkpoints_path / LATEST
    if checkpoint is None:
        latest.unlink(missing_ok=True)
    else:
        disk.write_atomically(latest, f"{checkpoint.name}\n".encode())


def pin(stage: StageFolder, name: str, why: str) -> None:
    """Keep retention from ever removing a checkpoint; one pinned before for the same reason is unpinned.

    Raises:
        RunError: the folder can't be written.
    """
    others = {each: reason for each, reason in pinned(stage).items() if reason != why}
    write_json(stage.checkpoints_path / PINNED, {name: why, **others})


def pinned(stage: StageFolder) -> dict[str, str]:
    """Pinned checkpoints that still exist, and why they are pinned; empty if that can't be read."""
    try:
        tree = read_json(stage.checkpoints_path / PINNED)
    except RunError:
        return {}
    entries = tree.items() if isinstance(tree, dict) else ()
    return {name: str(why) for name, why in entries if (stage.checkpoints_path / name).is_dir()}


def best(stage: StageFolder) -> Path | None:
    """The checkpoint of this run whose averaged weights did best on the stage's probe, None where none says.

    L0 will do: one that lost a file, or came from another run, keeps no better one from staying.
    """
    own = (path for path in list_checkpoints(stage) if judge(path, level=0, run_id=stage.run_id).whole)
    losses = {path: _probe_loss(path) for path in own}
    known = {path: loss for path, loss in losses.items() if loss is not None}
    return min(known, key=known.__getitem__, default=None)


def _probe_loss(path: Path) -> float | None:
    try:
        state = disk.parse_json(disk.read_bounded(path / STATE, disk.MAX_JSON_BYTES))
    except (OSError, ValueError):
        return None
    loss = state.get("probe_loss") if isinstance(state, dict) else None
    return float(loss) if isinstance(loss, int | float) else None


def retain(stage: StageFolder, fresh: Path, keep: int) -> None:
    """Keep the newest `keep` valid checkpoints, the fresh one among them, the best one and what is pinned.

    Damaged ones don't count, so they never push out a valid one; those of another run or stage, or without a
    readable manifest, are not ours to remove. They are judged to L1 only, since they passed L3 when saved.

    Raises:
        OSError: the folder can't be written.
    """
    kept, spared = 1, {best(stage), *(stage.checkpoints_path / name for name in pinned(stage))}
    for path in reversed(list_checkpoints(stage)):
        if path == fresh:
            continue
        judgement = judge(path, level=1 if kept < keep else 0, run_id=stage.run_id, kind=stage.name)
        if kept < keep:
            kept += judgement.whole
        elif path not in spared and (judgement.run_id, judgement.kind) == (stage.run_id, stage.name):
            # renamed first, so that a kill during deletion leaves no visible half
            path.rename(hidden_name(path, "removed"))
            disk.failpoint("commit:removed")


def remove_beyond(stage: StageFolder, step: int) -> None:
    """Remove this run's checkpoints of later steps, because training goes back to `step`.

    Raises:
        OSError: the folder can't be written.
    """
    judged = [judge(path, level=0, run_id=stage.run_id) for path in list_checkpoints(stage)]
    own = [each for each in judged if each.run_id == stage.run_id]
    staying = [each.path for each in own if each.whole and checkpoint_step(each.path) <= step]
    # first: a kill in between must not leave it naming what is gone
    write_latest(stage, staying[-1] if staying else None)
    for each in reversed(own):
        if checkpoint_step(each.path) > step:
            each.path.rename(hidden_name(each.path, "removed"))
            disk.failpoint("set_back:removed")
    tidy(stage)


def tidy(stage: StageFolder) -> None:
    """Remove what dead writers, and this one, left hidden; bring back what was moved aside in vain.

    Raises:
        OSError: the folder can't be written.
    """
    for path in list(stage.checkpoints_path.iterdir()):
        match = _HIDDEN.fullmatch(path.name)
        if match is None or parse_checkpoint_name(match[2]) is None or disk.is_another_alive(int(match[3])):
            continue
        final = path.with_name(match[2])
        if match[1] == "replaced" and not final.exists():
            path.rename(final)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in stage.checkpoints_path.glob(f".{LATEST}.*.tmp"):
        path.unlink()


def hidden_name(final: Path, what: str) -> Path:
    """The hidden name for a checkpoint that does not count yet, or no longer."""
    return final.with_name(f".{what}-{final.name}-{os.getpid()}")
