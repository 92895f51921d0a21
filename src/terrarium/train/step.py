"""One optimizer step, alone or together with other processes: all or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from terrarium.config import Config
from terrarium.errors import NotFiniteError, OutOfMemoryError, TrainingError, is_out_of_memory
from terrarium.models.step_result import StepResult
from terrarium.run.rows import Row
from terrarium.train import parallel
from terrarium.train.adjustments import UNCHANGED, Adjustments
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.optimizer import learning_rate_at, set_learning_rate
from terrarium.train.precision import autocast
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState, seed_step


@dataclass(frozen=True)
class Adjusted:
    """The batches of a stage without those that adjustments skip; of each batch, our rows.

    Attributes:
        stage: makes the batches.
        adjustments: the adjustments in force.
        ranks: the processes that share a batch.
    """

    stage: Stage
    adjustments: Adjustments
    ranks: Ranks = ALONE

    def batch(self, step: int) -> Any:
        """The batch that a step is trained on, or our part of it."""
        number = self.adjustments.batch_of(step)
        if self.ranks.alone:
            return self.stage.batches.batch(number)
        parts = parts_of(self.stage, self.adjustments, step)
        size = self.stage.config.batch_size // parts
        mine = [part * size + row for part in range(parts) for row in self.ranks.share(size)]
        return self.stage.batches.batch(number, mine)


def parts_of(stage: Stage, adjustments: Adjustments, step: int) -> int:
    """How many micro-batches a step is taken in."""
    return stage.config.gradient_accumulation * adjustments.accumulation_factor(step)


def train_step(
    state: TrainState,
    stage: Stage,
    inputs: tuple[Tensor, ...],
    config: Config,
    adjustments: Adjustments = UNCHANGED,
) -> Row:
    """Take one optimizer step, or none if the loss or a gradient is not finite.

    Args:
        state: what is trained. All processes that share it must take the step together.
        stage: the stage that is trained.
        inputs: the batch; if several processes take the step, our rows of it.
        config: the run's configuration.
        adjustments: the adjustments in force.

    Returns:
        The history row. Its loss is the mean over micro-batches and processes of the undivided loss.
    """
    began = time.monotonic()
    seed_step(config.seed, stage.name, state.step)
    asked = learning_rate_at(state.step, stage.config) * adjustments.rate_factor(state.step)
    rate = set_learning_rate(state.optimizer, asked)
    state.model.train()
    parts = parts_of(stage, adjustments, state.step)
    clips = stage.config.batch_size // parts
    with without_trace(state):
        micro_batches = list(zip(*(part.chunk(parts) for part in inputs), strict=True))
        results = [
            backward(state, micro_batch, clips, parts, config, last=number == parts)
            for number, micro_batch in enumerate(micro_batches, 1)
        ]
        norm = parallel.whole(nn.utils.clip_grad_norm_(state.model.parameters(), stage.config.gradient_clip))
        loss = torch.stack([result.loss.detach() for result in results]).mean()
        with guarding(state):
            refuse_non_finite(loss, norm, stage, adjustments.batch_of(state.step))
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)  # frees their memory until the next step
    state.update_average(stage.config.ema_decay)
    frames = stage.config.batch_size * stage.config.clip_frames
    row: Row = {"step": state.step, "runtime": 0.0, "loss": float(loss), "learning_rate": rate}
    row |= {"grad_norm": float(norm), "frames_per_second": round(frames / (time.monotonic() - began), 1)}
    row |= {name: mean_measure(results, name) for name in results[0].measures}
    state.step += 1
    return row


@contextmanager
def without_trace(state: TrainState) -> Iterator[None]:
    """Undo a refused step: its gradients, and what its batch did to running statistics."""
    with guarding(state):
        before = [buffer.clone() for buffer in state.model.buffers()]
    try:
        yield
    except TrainingError:
        state.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, kept in zip(state.model.buffers(), before, strict=True):
                buffer.copy_(kept)
        raise


@contextmanager
def guarding(state: TrainState) -> Iterator[None]:
    """Count the guard's time. On a GPU this includes waiting for the step's arithmetic: an overestimate."""
    began = time.monotonic()
    try:
        yield
    finally:
        state.guard_seconds += time.monotonic() - began


def backward(
    state: TrainState, inputs: tuple[Tensor, ...], clips: int, parts: int, config: Config, *, last: bool
) -> StepResult:
    """Forward and backward pass of a micro-batch; gradients add up to those of the mean of `parts`.

    Args:
        state: gets the gradients; they are averaged over processes with the last micro-batch.
        inputs: the micro-batch, or our share of it.
        clips: how many clips the micro-batch has.
        parts: how many micro-batches the step has.
        config: the run's configuration.
        last: whether this is the last of them.

    Returns:
        The result of the whole micro-batch.
    """
    try:
        with parallel.averaging(state.runner, last), state.ranks.sharing(clips):
            if parallel.begins_together(state.runner):
                state.ranks.meter.mark()
            with autocast(inputs[0].device, config):
                result: StepResult = state.runner(*inputs)
            whole, factor = state.ranks.whole(result, len(inputs[0]))
            (result.loss * factor / parts).backward()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"no room for a micro-batch of {len(inputs[0])} clips",
            "Raise gradient_accumulation or lower batch_size.",
        ) from error
    return whole


def refuse_non_finite(loss: Tensor, norm: Tensor, stage: Stage, step: int) -> None:
    """Stop before the update, so that the weights stay what they were. `step` is the batch's number.

    Raises:
        NotFiniteError: the loss or the norm of the gradient is NaN or infinite.
    """
    if torch.isfinite(loss) and torch.isfinite(norm):
        return
    what = "loss" if not torch.isfinite(loss) else "gradient"
    raise NotFiniteError(
        f"{stage.name}: the {what} is not finite (loss {float(loss)}, gradient norm {float(norm)}) "
        f"in the batch of {stage.batches.identity(step)}; the step was not taken",
        f"Look at that footage, or begin a new run with --set {stage.name}.learning_rate="
        f"{stage.config.learning_rate / 3:.2g}",
    )


def mean_measure(results: list[StepResult], name: str) -> float:
    """The mean of a measure over micro-batches."""
    return float(torch.stack([result.measures[name].float() for result in results]).mean())
