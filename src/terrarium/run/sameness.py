"""Whether two runs are the same, bit for bit, in everything but what depends on the machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from terrarium.run.folder import STAGES, RunFolder, StageFolder
from terrarium.run.manifest import EMA, MODEL, OPTIMIZER
from terrarium.run.rows import Row, read_history
from terrarium.run.shards import are_shards, join_files

MACHINE = ("runtime", "frames_per_second", "process_memory", "memory_left")  # what the machine decides


def timeless(stage: StageFolder) -> list[Row]:
    """The history of a stage without what depends on the machine."""
    rows = read_history(stage.history_path).rows
    return [{key: value for key, value in row.items() if key not in MACHINE} for row in rows]


def differences(run: RunFolder, other: RunFolder) -> list[str]:
    """What differs between two runs, or is missing; empty if they are the same.

    Histories must be equal, and so must every tensor file that both have; both must have the weights, average
    and optimizer of the last step. They may have kept different older checkpoints.
    """
    return [f"{name}: {what}" for name in STAGES for what in _differing(run.stage(name), other.stage(name))]


def _differing(stage: StageFolder, other: StageFolder) -> list[str]:
    rows = timeless(stage)
    mine, theirs = _hashes(stage), _hashes(other)
    last = {f"{stage.name}_step_{len(rows)}/{name}" for name in (MODEL, EMA, OPTIMIZER)}
    history = [] if rows == timeless(other) else ["history"]
    missing = sorted(name for name in last if name not in mine or name not in theirs)
    changed = sorted(name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name])
    return [*history, *missing, *changed]


def _hashes(stage: StageFolder) -> dict[str, str]:
    """Of the tensor files of all checkpoints; shards count as the three files that they are read as."""
    found: dict[str, str] = {}
    for checkpoint in stage.checkpoints_path.glob(f"{stage.name}_step_*"):
        files = sorted(checkpoint.glob("*.safetensors"))
        in_shards = are_shards(file.name for file in files)
        hashes = _of_shards(files) if in_shards else {file.name: _sha256(file) for file in files}
        found |= {f"{checkpoint.name}/{name}": value for name, value in hashes.items()}
    return found


def _of_shards(files: list[Path]) -> dict[str, str]:
    """Put together first, because PyTorch writes the tensors of a shard in any order."""
    try:
        joined = join_files({file.name: file.read_bytes() for file in files})
    except ValueError:
        return {}  # parts are missing
    return {name: hashlib.sha256(blob).hexdigest() for name, blob in joined.items()}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
