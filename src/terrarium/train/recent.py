"""The states of a stage at its last few gates, at rest in memory: a way back shorter than to a checkpoint."""

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

KEPT = 4  # gates: trouble is seen some gates after it began


class Recent:
    """Snapshots, of which one becomes a checkpoint where training has to go back to it.

    To copy a state takes milliseconds, to save it a step or so: this can be done at every gate. A process
    that is killed loses them, and then goes back to its last checkpoint.
    """

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque(maxlen=KEPT)

    def remember(self, snapshot: Snapshot) -> None:
        """Keep a state, and let the oldest one go. Those of this step or later were taken back meanwhile."""
        while self._snapshots and self._snapshots[-1].step >= snapshot.step:
            self._snapshots.pop()
        self._snapshots.append(snapshot)

    def newest_until(self, step: int, but: Collection[object] = ()) -> Snapshot | None:
        """The newest state of this step or an earlier one, those of `but` left out; None if there is none."""
        known = (each for each in reversed(self._snapshots) if each.step <= step and each.step not in but)
        return next(known, None)


def save_recent(
    snapshot: Snapshot, stage: Stage, folder: StageFolder, config: Config, model: nn.Module
) -> Path:
    """Make a checkpoint of a state in memory, as it would have been saved at its step.

    Args:
        snapshot: the state.
        stage: of it.
        folder: of the stage; its history reaches the state.
        config: of the run.
        model: of the stage, at whatever step; it is left alone.

    Raises:
        CheckpointError: it can't be saved.
    """
    _sync_history(folder)
    average = copy.deepcopy(model).eval()
    average.load_state_dict(snapshot.files["ema.safetensors"])
    notes = {"probe_loss": probe_loss(average, stage, config)}
    return commit(replace(snapshot, state=snapshot.state | notes), folder, stage.config.keep_checkpoints)


def _sync_history(folder: StageFolder) -> None:
    """Rows reach the disk before the checkpoint that stands on them."""
    try:
        disk.sync_file(folder.history_path)
    except OSError as error:
        raise CheckpointError(f"{folder.history_path} can't be written: {disk.why(error)}") from error
