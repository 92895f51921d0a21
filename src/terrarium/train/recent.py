"""The states of a stage at its last few gates, kept in memory: a shorter way back than to a checkpoint."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from torch import nn

from terrarium.config import Config
from terrarium.errors import CheckpointError
from terrarium.run import disk
from terrarium.run.folder import StageFolder
from terrarium.train.probe import probe_loss
from terrarium.train.saver import Snapshot, commit
from terrarium.train.stages import Stage

KEPT = 4  # gates: trouble is noticed a few gates after it began


class Recent:
    """Snapshots; one becomes a checkpoint if training has to go back to it.

    Copying a state takes milliseconds and saving it about as long as a step, so every gate can afford a copy.
    A process that is killed loses them: the gate has the steps taken again if it needs one.
    """

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque(maxlen=KEPT)

    def remember(self, snapshot: Snapshot) -> None:
        """Keep a state and drop the oldest. States of this step or later were taken back, and go too."""
        while self._snapshots and self._snapshots[-1].step >= snapshot.step:
            self._snapshots.pop()
        self._snapshots.append(snapshot)

    def newest_until(self, step: int, but: Collection[object] = ()) -> Snapshot | None:
        """The newest state of this step or earlier, not counting the steps in `but`, or None."""
        known = (each for each in reversed(self._snapshots) if each.step <= step and each.step not in but)
        return next(known, None)


def save_recent(
    snapshot: Snapshot, stage: Stage, folder: StageFolder, config: Config, model: nn.Module
) -> Path:
    """Make a checkpoint of a state in memory, exactly as it would have been saved at its step.

    Args:
        snapshot: the state.
        stage: the stage that it is of.
        folder: the stage's folder; its history reaches the state.
        config: the run's configuration.
        model: the stage's model, at any step; it is not changed.

    Raises:
        CheckpointError: it can't be saved.
    """
    _sync_history(folder)
    average = copy.deepcopy(model).eval()
    average.load_state_dict(snapshot.files["ema.safetensors"])
    notes = {"probe_loss": probe_loss(average, stage, config)}
    return commit(replace(snapshot, state=snapshot.state | notes), folder, stage.config.keep_checkpoints)


def _sync_history(folder: StageFolder) -> None:
    """Rows must reach the disk before the checkpoint that relies on them."""
    try:
        disk.sync_file(folder.history_path)
    except OSError as error:
        raise CheckpointError(f"{folder.history_path} can't be written: {disk.why(error)}") from error
