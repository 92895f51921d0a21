"""Levels L4 and L5: checkpoints proven by using them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from terrarium.config import Config, override
from terrarium.errors import RunError
from terrarium.run.checkpoint import read_files, read_state
from terrarium.run.folder import StageFolder, checkpoint_step, read_json, write_json
from terrarium.run.manifest import sha256_of_manifest
from terrarium.run.rows import Row
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train.adjustments import Adjustments
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.exchange import processes_of
from terrarium.train.interruption import Interrupted, never
from terrarium.train.probe import probe_loss
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState
from terrarium.train.step import Adjusted, train_step
from terrarium.train.surroundings import strategy_of

NAME = "proof.json"
# of the loss: other hardware and other releases round differently; damage shows in the first digits
TOLERANCE, LEAST_TOLERANCE = 1e-3, 1e-5


@dataclass(frozen=True)
class Proof:
    """What using a checkpoint showed.

    Attributes:
        path: the checkpoint.
        level: 4 (the probe's loss is what it was at saving) or 5 (training on gives the next checkpoint).
        holds: whether it passed; None if it could not be tried.
        reason: what was found, in words.
    """

    path: Path
    level: int
    holds: bool | None
    reason: str


def prove_probe(stage: Stage, folder: StageFolder, config: Config, path: Path) -> Proof:
    """L4: the averaged weights of a whole checkpoint must give the same probe loss as when it was saved."""
    saved = read_state(path).get("probe_loss")
    if not isinstance(saved, int | float) or not math.isfinite(saved):
        return Proof(path, 4, None, "no probe's loss was stored with it")
    state = _load(stage, folder, path)
    loss = probe_loss(state.average, stage, config)
    same = "the same" if loss == saved else f"{loss:.6g}, {abs(loss - saved):.2g} off"
    return Proof(
        path,
        4,
        abs(loss - saved) <= TOLERANCE * abs(saved) + LEAST_TOLERANCE,
        f"the probe's loss was {saved:.6g} and is {same}",
    )


def note_proof(proof: Proof, folder: StageFolder) -> None:
    """Record in `proof.json` which checkpoint of a stage was used, and what that showed."""
    held = {"checkpoint": proof.path.name, "sha256": sha256_of_manifest(proof.path), "level": proof.level}
    write_json(folder.path / NAME, {"format": 1, **held, "holds": proof.holds, "reason": proof.reason})


def is_proven(folder: StageFolder, path: Path) -> bool:
    """Whether this very checkpoint was used, and did not fail."""
    try:
        tree = read_json(folder.path / NAME)
    except RunError:
        return False
    known = tree if isinstance(tree, dict) else {}
    same = (known.get("checkpoint"), known.get("sha256")) == (path.name, sha256_of_manifest(path))
    return same and known.get("holds") is not False


def prove_replay(stage: Stage, folder: StageFolder, config: Config, ranks: Ranks = ALONE) -> Proof | None:
    """L5: training on from the checkpoint before it must reproduce the newest one bit for bit.

    Args:
        stage: the stage, before its first step.
        folder: the stage's folder.
        config: the run's configuration.
        ranks: the processes that take the steps together; all call this, and the first one's proof counts.

    Returns:
        None if the stage has fewer than two whole checkpoints.
    """
    whole = [path for path in list_checkpoints(folder) if judge(path, run_id=folder.run_id).whole]
    pairs = list(pairwise(whole))
    if not pairs:
        return None
    earlier, later = pairs[-1]
    if (strategy := strategy_of(later)) is not None:  # a resume may have changed it
        config = override(config, [f"ranks.strategy={strategy}"])
    state = replay(stage, folder, config, earlier, checkpoint_step(later), ranks=ranks)
    stored = {name: safetensors.torch.load(blob) for name, blob in read_files(later).items()}
    differing = [
        f"{file}: {name}"
        for file, tensors in state.snapshot().files.items()
        for name, tensor in tensors.items()
        if not _equal_bits(tensor, stored.get(file, {}).get(name))
    ]
    steps = checkpoint_step(later) - checkpoint_step(earlier)
    if not differing:
        return Proof(later, 5, True, f"{steps} steps from {earlier.name} give it, bit for bit")
    if (count := processes_of(folder, checkpoint_step(later))) != ranks.count:
        how = f"with torchrun --nproc-per-node {count}" if count > 1 else "without torchrun"
        why = f"the {steps} steps from {earlier.name} were taken by another number of processes, which round"
        return Proof(later, 5, None, f"{why} differently: verify {how}")
    rest = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    return Proof(later, 5, False, f"{steps} steps from {earlier.name} give another {differing[0]}{rest}")


def replay(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    start: Path | None,
    stop: int,
    adjustments: Adjustments | None = None,
    asked: Callable[[], str] = never,
    ranks: Ranks = ALONE,
) -> TrainState:
    """Take the steps from a checkpoint to `stop` once more, on a copy; nothing is written.

    Args:
        stage: the checkpoint's stage; its model is not touched.
        folder: the stage's folder.
        config: the run's configuration.
        start: a whole checkpoint; None to begin with the stage's model as it is, at step 0.
        stop: the step to end at.
        adjustments: those to apply; by default those of the folder.
        asked: why to stop before the end, "" to go on.
        ranks: the processes that take the steps together.

    Raises:
        TrainingError: a step is not finite.
        Interrupted: it was asked to leave.
    """
    in_force = Adjustments.read(folder) if adjustments is None else adjustments
    state = _load(stage, folder, start, ranks, config.ranks.strategy)
    take_steps(state, stage, config, stop, in_force, asked=asked)
    return state


def take_steps(
    state: TrainState,
    stage: Stage,
    config: Config,
    stop: int,
    adjustments: Adjustments,
    rows: list[Row] | None = None,
    asked: Callable[[], str] = never,
) -> None:
    """Train a state up to step `stop`; `rows` collects the history row of each step.

    Raises:
        TrainingError: a step is not finite; it was not taken.
        Interrupted: it was asked to leave.
    """
    batches = Adjusted(stage, adjustments, state.ranks)
    while state.step < stop:
        if why := asked():
            raise Interrupted(f"{why} while steps of {stage.name} were taken again: nothing was decided")
        inputs = stage.to_inputs(batches.batch(state.step))
        row = train_step(state, stage, inputs, config, adjustments)
        if rows is not None:
            rows.append(row)


def _load(
    stage: Stage, folder: StageFolder, path: Path | None, ranks: Ranks = ALONE, strategy: str = "ddp"
) -> TrainState:
    state = TrainState.begin(copy.deepcopy(stage.model), stage.config, ranks, strategy)
    if path is not None:
        state.load(folder, checkpoint_step(path))
    return state


def _equal_bits(one: Tensor, other: Tensor | None) -> bool:
    if other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
