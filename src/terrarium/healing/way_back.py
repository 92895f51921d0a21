"""The way back of a stage in trouble: its checkpoints, states kept in memory, and states taken again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from torch import nn

from terrarium.config import Config
from terrarium.errors import CheckpointError
from terrarium.healing.decisions import Trouble, What, cures_tried
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.retention import pin
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train.interruption import never
from terrarium.train.proof import replay
from terrarium.train.recent import KEPT, Recent, save_recent
from terrarium.train.saver import Snapshot
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState

BEFORE_TROUBLE = "the last one before trouble"


class WayBack:
    """Where a stage in trouble can go back to: always a whole checkpoint, or its beginning.

    The state of one of the last gates is a shorter way back than to a checkpoint. It is kept in memory, and
    becomes a checkpoint where it is needed. What memory lost with a process that was stopped is taken again.

    Args:
        stage: the stage; its model is not touched.
        untrained: that model before its first step.
        folder: the stage's folder.
        config: the run's configuration.
        say: prints a line about steps that are taken again, and about a state that can't be saved.
        processes: how many train the stage together; several take no steps again.
    """

    def __init__(
        self,
        stage: Stage,
        untrained: nn.Module,
        folder: StageFolder,
        config: Config,
        say: Callable[[str], None],
        processes: int = 1,
    ) -> None:
        self._stage, self._untrained, self._folder, self._config = stage, untrained, folder, config
        self._say, self._processes, self._recent = say, processes, Recent()

    def remember(self, state: TrainState) -> None:
        """Keep the state at every gate, in memory."""
        if state.step % self._stage.config.gate_every == 0:
            self._recent.remember(state.snapshot())

    def keep(self, checkpoint: Path) -> None:
        """Pin a checkpoint as the last one before trouble, in place of the one that was."""
        pin(self._folder, checkpoint.name, BEFORE_TROUBLE)

    def newest_until(self, step: int, but: Collection[object] = ()) -> Path | None:
        """The newest whole checkpoint of this step or earlier, not counting the steps in `but`, or None."""
        for path in reversed(list_checkpoints(self._folder)):
            there = checkpoint_step(path)
            if there > step or there in but:
                continue
            if judge(path, run_id=self._folder.run_id, kind=self._folder.name).whole:
                return path
        return None

    def best_known(self, trouble: Trouble) -> Path | None:
        """The newest state from before an onset that is on disk or in memory, as a checkpoint, or None."""
        saved = self.newest_until(trouble.onset)
        return self._newer_of(saved, self._recent.newest_until(trouble.onset))

    def before(self, trouble: Trouble, asked: Callable[[], str] = never) -> Path | None:
        """The newest state from before an onset that was not gone back to in vain, as a checkpoint.

        Args:
            trouble: what went wrong.
            asked: why to stop taking steps again, "" to go on.

        Returns:
            None for the stage's beginning.

        Raises:
            TrainingError: a step that is taken again is not finite.
            Interrupted: it was asked to stop.
        """
        but = _gone_back_to(self._folder, trouble)
        saved = self.newest_until(trouble.onset, but)
        kept = self._recent.newest_until(trouble.onset, but)
        if kept is None and (step := self._lost_gate(trouble, saved, but)) is not None:
            kept = self._taken_again(saved, step, asked)
        return self._newer_of(saved, kept)

    def _lost_gate(self, trouble: Trouble, saved: Path | None, but: Collection[object]) -> int | None:
        """The newest gate before an onset that memory lost, if not too far from a checkpoint, or None."""
        every, begin = self._stage.config.gate_every, checkpoint_step(saved)
        last = (trouble.step - 1) // every * every
        remembered = range(last, max(0, last - KEPT * every), -every)
        lost = next((gate for gate in remembered if gate <= trouble.onset and gate not in but), None)
        longest = KEPT * every + self._stage.config.checkpoint_every
        if lost is None or not begin < lost <= begin + longest or self._processes > 1:
            return None
        return lost

    def _taken_again(self, saved: Path | None, step: int, asked: Callable[[], str]) -> Snapshot:
        self._say(
            f"{self._stage.name}: the steps from {checkpoint_step(saved)} to {step} are taken again, "
            "to go back to there"
        )
        fresh = replace(self._stage, model=self._untrained)
        return replay(fresh, self._folder, self._config, saved, step, asked=asked).snapshot()

    def _newer_of(self, saved: Path | None, kept: Snapshot | None) -> Path | None:
        """A checkpoint, or a state in memory that is newer: it becomes one, if it can be saved."""
        if kept is None or kept.step <= checkpoint_step(saved):
            return saved
        try:
            return save_recent(kept, self._stage, self._folder, self._config, self._untrained)
        except CheckpointError as error:
            self._say(f"the state of step {kept.step} stays in memory: {error}")
            return saved


def _gone_back_to(folder: StageFolder, trouble: Trouble) -> set[object]:
    """The steps that training went back to because of a trouble that is here again: in vain."""
    cures = [row for row in cures_tried(folder) if row.get("code") == trouble.code]
    return {row.get("resumed_from") for row in cures if row["what"] == What.ROLL_BACK}
