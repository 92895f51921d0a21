"""The training loop: one for all three stages, to be read from top to bottom."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from terrarium.config import Config, StageConfig
from terrarium.data.loader import Prefetcher
from terrarium.errors import CheckpointError, OutOfMemoryError, TrainingError
from terrarium.models.step_result import StepResult
from terrarium.run.checkpoint import recover
from terrarium.run.folder import StageFolder
from terrarium.run.freeze import is_asked_to_stop
from terrarium.run.history import History
from terrarium.train.adjustments import UNCHANGED, Adjustment, Adjustments, set_back
from terrarium.train.gate import Gate, OpenGate
from terrarium.train.interruption import Interrupted, Interruption
from terrarium.train.memory import memory_of
from terrarium.train.optimizer import learning_rate_at, set_learning_rate
from terrarium.train.overhead import Overhead
from terrarium.train.pictures import save_picture
from terrarium.train.precision import autocast
from terrarium.train.probe import probe_loss
from terrarium.train.saver import Saver, Snapshot
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState, seed_step
from terrarium.train.watchdog import Watchdog

Row = dict[str, float | int | str | None]


class Progress(Protocol):
    """Who is told how training goes."""

    def say(self, text: str) -> None:
        """Something worth a line of its own."""
        ...

    def step(self, stage: str, row: Row, steps: int) -> None:
        """A step of a stage was taken, of so many."""
        ...


class _SetBack(Exception):  # noqa: N818 - not an error: the way back to the last good state
    def __init__(self, adjustment: Adjustment) -> None:
        super().__init__(adjustment)
        self.adjustment = adjustment


def train_stage(
    stage: Stage, folder: StageFolder, config: Config, progress: Progress, gate: Gate | None = None
) -> None:
    """Train a stage to its last step, from where it stands; as often as its gate sets it back.

    Raises:
        TrainingError: a loss or gradient is not finite, the step was not taken, and the gate knows no way on.
        CheckpointError: a checkpoint can't be saved or read.
        Interrupted: SIGINT or SIGTERM came; the state was saved.
    """
    torch.set_flush_denormal(True)  # denormals make steps many times slower on CPUs
    untrained = copy.deepcopy(stage.model.state_dict())
    with Interruption() as interruption:  # over all ways back: what was asked in a trial is not forgotten

        def asked() -> str:
            return interruption.asked or ("asked to stop" if is_asked_to_stop(folder.path.parent) else "")

        while True:
            try:
                _train(stage, folder, config, progress, gate or OpenGate(), asked)
            except _SetBack as back:
                set_back(folder, back.adjustment)
                stage.model.load_state_dict(untrained)
                progress.say(f"{folder.name} goes back to step {back.adjustment.from_step}")
            else:
                return


def _train(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    progress: Progress,
    gate: Gate,
    asked: Callable[[], str],
) -> None:
    state, adjustments = TrainState.begin(stage.model, stage.config), Adjustments.read(folder)
    with (
        Overhead(folder) as overhead,
        History(folder) as history,
        Saver(folder, stage.config.keep_checkpoints, stage.config.failed_saves, progress.say) as saver,
        Watchdog(folder.path, stage.config.stall_seconds, progress.say) as watchdog,
    ):
        overhead.meters["writer"] = lambda: saver.writer_seconds
        resume(state, folder, history, progress)
        resumed_at, first_runtime, began = state.step, history.last_runtime, time.monotonic()
        with Prefetcher(Adjusted(stage, adjustments), state.step, stage.config.steps, asked) as batches:
            for batch in batches:  # they end early where training is asked to stop
                saver.check()
                try:
                    row = train_step(state, stage, stage.to_inputs(batch), config, adjustments)
                except TrainingError as refusal:
                    # the step was not taken: what was reached before it is whole, and need not be lost
                    keep(state, stage, config, history, saver, progress)
                    raise _SetBack(gate.answer(refusal, state.step)) from refusal
                row["runtime"] = round(first_runtime + time.monotonic() - began, 3)
                row |= memory_of(next(stage.model.parameters()).device)
                with overhead.of("history"):
                    history.append(row)
                watchdog.stepped()
                progress.step(stage.name, row, stage.config.steps)
                # the picture first: after a kill in between it is drawn again, and none is missing
                if state.step % stage.config.picture_every == 0 or is_last(state, stage.config):
                    with watchdog.pause("drawing"), overhead.of("pictures"):
                        save_picture(stage.draw(state.average), folder, state.step)
                # the gate before the save: what it finds critical is not kept
                with watchdog.pause("at the gate"), overhead.of("gates"):
                    back = gate.ask(state.step, last=is_last(state, stage.config), asked=asked)
                if back is not None:
                    raise _SetBack(back)
                if state.step % stage.config.checkpoint_every == 0 or is_last(state, stage.config):
                    with watchdog.pause("saving"), overhead.of("saving"):
                        save(state, stage, config, history, saver)
        done = is_last(state, stage.config)
        with watchdog.pause("saving"), overhead.of("saving"):
            if not done and state.step > resumed_at:
                save(state, stage, config, history, saver)
            saver.finish()
        if (why := asked()) or not done:
            raise Interrupted(f"{why or 'asked to stop'} at step {state.step} of {stage.name}: saved")


def save(state: TrainState, stage: Stage, config: Config, history: History, saver: Saver) -> None:
    """Begin to save a state; its rows reach the disk first."""
    history.sync()
    saver.save(lambda: take_snapshot(state, stage, config))


def keep(
    state: TrainState, stage: Stage, config: Config, history: History, saver: Saver, progress: Progress
) -> None:
    """Save what was reached before a step that was refused, if that can be saved."""
    try:
        save(state, stage, config, history, saver)
        saver.finish()
    except CheckpointError as error:
        progress.say(f"what was reached before step {state.step} was not saved: {error}")


def take_snapshot(state: TrainState, stage: Stage, config: Config) -> Snapshot:
    """A copy of the state, with what its averaged weights make of the probe (L4 asks again)."""
    return state.snapshot({"probe_loss": probe_loss(state.average, stage, config)})


@dataclass(frozen=True)
class Adjusted:
    """The batches of a stage, less those that were passed over."""

    stage: Stage
    adjustments: Adjustments

    def batch(self, step: int) -> Any:
        """The batch that a step is taken on."""
        return self.stage.batches.batch(self.adjustments.batch_of(step))


def train_step(
    state: TrainState,
    stage: Stage,
    inputs: tuple[Tensor, ...],
    config: Config,
    adjustments: Adjustments = UNCHANGED,
) -> Row:
    """One optimizer step, or none where loss or gradient is not finite.

    Returns:
        The history row. Its loss is the mean over micro-batches of the undivided loss.
    """
    began = time.monotonic()
    seed_step(config.seed, stage.name, state.step)
    asked = learning_rate_at(state.step, stage.config) * adjustments.rate_factor(state.step)
    rate = set_learning_rate(state.optimizer, asked)
    state.model.train()
    parts = stage.config.gradient_accumulation * adjustments.accumulation_factor(state.step)
    with without_trace(state):
        results = [
            backward(state.model, micro_batch, parts, config)
            for micro_batch in zip(*(part.chunk(parts) for part in inputs), strict=True)
        ]
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), stage.config.gradient_clip)
        loss = torch.stack([result.loss.detach() for result in results]).mean()
        refuse_non_finite(loss, norm, stage, adjustments.batch_of(state.step))
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)  # they need no room until the next step
    state.update_average(stage.config.ema_decay)
    frames = stage.config.batch_size * stage.config.clip_frames
    row: Row = {"step": state.step, "runtime": 0.0, "loss": float(loss), "learning_rate": rate}
    row |= {"grad_norm": float(norm), "frames_per_second": round(frames / (time.monotonic() - began), 1)}
    row |= {name: mean_measure(results, name) for name in results[0].measures}
    state.step += 1
    return row


@contextmanager
def without_trace(state: TrainState) -> Iterator[None]:
    """A step that is refused leaves neither gradients behind nor what its batch did to running statistics."""
    before = [buffer.clone() for buffer in state.model.buffers()]
    try:
        yield
    except TrainingError:
        state.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, kept in zip(state.model.buffers(), before, strict=True):
                buffer.copy_(kept)
        raise


def backward(model: nn.Module, inputs: tuple[Tensor, ...], parts: int, config: Config) -> StepResult:
    """Forward and backward pass of a micro-batch; gradients add up to those of the mean of `parts`."""
    try:
        with autocast(inputs[0].device, config):
            result: StepResult = model(*inputs)
        (result.loss / parts).backward()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"no room for a micro-batch of {len(inputs[0])} clips",
            "Raise gradient_accumulation or lower batch_size.",
        ) from error
    return result


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator refused: on a GPU it has a type of its own, on a CPU only words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def refuse_non_finite(loss: Tensor, norm: Tensor, stage: Stage, step: int) -> None:
    """Stop before the update: weights stay what they were. `step` is the number of the batch.

    Raises:
        TrainingError: the loss or the norm of the gradient is NaN or infinite.
    """
    if torch.isfinite(loss) and torch.isfinite(norm):
        return
    what = "loss" if not torch.isfinite(loss) else "gradient"
    raise TrainingError(
        f"{stage.name}: the {what} is not finite (loss {float(loss)}, gradient norm {float(norm)}) "
        f"in the batch of {stage.batches.identity(step)}; the step was not taken",
        f"Look at that footage, or begin a new run with --set {stage.name}.learning_rate="
        f"{stage.config.learning_rate / 3:.2g}",
    )


def resume(state: TrainState, folder: StageFolder, history: History, progress: Progress) -> None:
    """Go back to the newest valid checkpoint; rows beyond it are taken back."""
    newest, passed_over = recover(folder)
    for judgement in passed_over:
        progress.say(f"passed over {judgement.path.name}: {judgement.reason}")
    if newest is not None:
        state.load(folder, int(newest.name.rsplit("_", 1)[1]))
    if history.last_step >= state.step:
        count = history.take_back(state.step - 1, f"resumed from step {state.step}")
        progress.say(f"{count} rows beyond step {state.step} were taken back")
    if history.last_step != state.step - 1:
        raise CheckpointError(
            f"{folder.history_path} ends at step {history.last_step}, the checkpoint is of step {state.step}",
            "Restore the history, or move the checkpoint away to resume from an older one.",
        )
    if state.step:
        progress.say(f"resuming {folder.name} from step {state.step}")


def is_last(state: TrainState, config: StageConfig) -> bool:
    """Whether the stage is done."""
    return state.step >= config.steps


def mean_measure(results: list[StepResult], name: str) -> float:
    """The mean of a measure over micro-batches."""
    return float(torch.stack([result.measures[name].float() for result in results]).mean())
