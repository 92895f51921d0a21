"""The training loop: one for all three stages, to be read from top to bottom."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from terrarium.config import Config, StageConfig
from terrarium.data.loader import Prefetcher
from terrarium.errors import OutOfMemoryError, TrainingError
from terrarium.run.folder import StageFolder
from terrarium.run.freeze import is_asked_to_stop
from terrarium.train.adjustments import Adjustment, Adjustments, set_back
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.exchange import Exchange
from terrarium.train.gate import Gate, OpenGate, SharedGate
from terrarium.train.interruption import Interruption
from terrarium.train.no_room import leave_note, take_notes
from terrarium.train.records import Progress, Records
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState
from terrarium.train.step import Adjusted, parts_of, train_step


class _SetBack(Exception):  # noqa: N818 - not an error: the way back to the last good state
    def __init__(self, adjustment: Adjustment) -> None:
        super().__init__(adjustment)
        self.adjustment = adjustment


def train_stage(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    progress: Progress,
    gate: Gate | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train a stage to its last step, from where it stands; as often as its gate sets it back.

    Args:
        stage: is trained in place, but where it is spread over processes in shards.
        folder: the stage's folder.
        config: the run's configuration.
        progress: shows how it goes.
        gate: who decides whether training may go on; of several processes, that of the first.
        ranks: the processes that train it together; all call this.

    Raises:
        TrainingError: a loss or gradient is not finite, the step was not taken, and the gate knows no way on.
        CheckpointError: a checkpoint can't be saved or read.
        Interrupted: SIGINT or SIGTERM came; the state was saved.
        RankLostError: to another process; likewise.
    """
    torch.set_flush_denormal(True)  # denormals make steps many times slower on CPUs
    untrained = copy.deepcopy(stage.model.state_dict())
    asked_gate = gate or OpenGate()
    if not ranks.alone:
        asked_gate = SharedGate(asked_gate, ranks, stage.config.gate_every)
    with Interruption() as interruption:  # over all ways back: what was asked in a trial is not forgotten

        def asked() -> str:
            return interruption.asked or ("asked to stop" if is_asked_to_stop(folder.path.parent) else "")

        while True:
            try:
                _train(stage, folder, config, progress, asked_gate, asked, ranks)
            except _SetBack as back:
                adjustment = back.adjustment
                ranks.from_first(lambda: set_back(folder, adjustment))  # noqa: B023 - called at once
                stage.model.load_state_dict(untrained)
                progress.say(f"{folder.name} goes back to step {adjustment.from_step}")
            else:
                return


def _train(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    progress: Progress,
    gate: Gate,
    asked: Callable[[], str],
    ranks: Ranks,
) -> None:
    state = TrainState.begin(stage.model, stage.config, ranks, config.ranks.strategy)
    # told, not read by each: the disk that machines share may show others the file of before
    told = ranks.from_first(lambda: Adjustments.read(folder).written())
    adjustments, exchange = Adjustments.parse(told, folder.path), Exchange(folder, ranks, asked)
    batches = Adjusted(stage, adjustments, ranks)
    with Records(stage, folder, config, progress, ranks) as records:
        records.resume(state)
        share = ranks.largest_share(stage.config.batch_size // parts_of(stage, adjustments, state.step))
        if no_room := ranks.from_first(lambda: _told_of_no_room(folder, share)):
            raise _SetBack(gate.answer(OutOfMemoryError(*no_room), state.step))
        resumed_at = state.step
        with Prefetcher(batches, state.step, stage.config.steps, exchange.asked) as prefetched:
            for batch in prefetched:  # they end early where training is asked to stop
                records.check()
                try:
                    row = train_step(state, stage, stage.to_inputs(batch), config, adjustments)
                except TrainingError as refusal:
                    raise _refused(refusal, state, folder, share, records, gate) from refusal
                records.step(row)
                exchange.after(state.step - 1, batch)
                # the picture first: after a kill in between it is drawn again, and none is missing
                if state.step % stage.config.picture_every == 0 or is_last(state, stage.config):
                    records.draw(state)
                # the gate before the save: what it finds critical is not kept
                with records.busy("at the gate", "gates"):
                    back = gate.ask(state.step, last=is_last(state, stage.config), asked=asked)
                    if back is not None:
                        raise _SetBack(back)
                    gate.passed(state)
                if state.step % stage.config.checkpoint_every == 0 or is_last(state, stage.config):
                    records.save(state)
        done = is_last(state, stage.config)
        if not done and state.step > resumed_at:
            records.save(state)
        records.finish()
        if exchange.asked() or not done:
            exchange.leave(f"at step {state.step} of {stage.name}")


def _refused(
    refusal: TrainingError, state: TrainState, folder: StageFolder, share: int, records: Records, gate: Gate
) -> _SetBack:
    """The way back from a step that was not taken, if there is one; `share` is of clips in a micro-batch."""
    if isinstance(refusal, OutOfMemoryError) and not state.ranks.alone:
        leave_note(folder, state.ranks.rank, share, refusal)
        raise refusal  # the others are in the midst of the step: they learn it from our end
    records.keep(state)  # what was reached before that step is whole, and need not be lost
    return _SetBack(gate.answer(refusal, state.step))


def _told_of_no_room(folder: StageFolder, share: int) -> list[str]:
    """The out-of-memory error of the start before, unless every share of a micro-batch is smaller by now."""
    told = [note.error for note in take_notes(folder) if note.clips <= share]
    return [told[0].what, told[0].next_step] if told else []


def is_last(state: TrainState, config: StageConfig) -> bool:
    """Whether the stage is done."""
    return state.step >= config.steps
