"""What a stage in training writes: history rows, pictures, checkpoints, and what they cost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from terrarium.config import Config
from terrarium.errors import CheckpointError, RefusedStateError
from terrarium.run.checkpoint import recover
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.history import History
from terrarium.run.rows import Row
from terrarium.run.sharded import begin_shards, commit_shards
from terrarium.train.distributed import Ranks
from terrarium.train.memory import memory_of
from terrarium.train.overhead import Overhead
from terrarium.train.parallel import save_shards
from terrarium.train.pictures import save_picture
from terrarium.train.probe import probe_loss
from terrarium.train.saver import Failures, Saver, Snapshot
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState
from terrarium.train.watchdog import Watchdog


class Progress(Protocol):
    """Shows how training goes."""

    def say(self, text: str) -> None:
        """Print a line."""
        ...

    def step(self, stage: str, row: Row, steps: int) -> None:
        """One of `steps` steps of a stage was taken; `row` is its history row."""
        ...


class Records:
    """Writes what a stage leaves behind; use it as a context manager.

    Of several processes only the first one writes, but all make the same calls: gathering a sharded state
    takes all of them.

    Args:
        stage: the stage in training.
        folder: the stage's folder.
        config: the run's configuration.
        progress: shows how it goes.
        ranks: the processes that train it together.
    """

    def __init__(
        self, stage: Stage, folder: StageFolder, config: Config, progress: Progress, ranks: Ranks
    ) -> None:
        self._stage, self._folder, self._config = stage, folder, config
        self._progress, self._ranks = progress, ranks
        self._history: History | None = None
        self._saver: Saver | None = None
        self._failures = Failures(stage.config.failed_saves, progress.say)
        self._first_runtime, self._began = 0.0, time.monotonic()
        self._overhead = Overhead(folder)
        self._sharded = not ranks.alone and config.ranks.checkpoints == "sharded"

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        stage, say = self._stage.config, self._progress.say
        if self._ranks.is_first:
            self._stack.enter_context(self._overhead)
            self._history = self._stack.enter_context(History(self._folder))
        if self._ranks.writes and not self._sharded:
            saver = Saver(self._folder, stage.keep_checkpoints, stage.failed_saves, say)
            self._saver = self._stack.enter_context(saver)
            self._overhead.meters["writer"] = lambda: saver.writer_seconds
        who = "" if self._ranks.is_first else f"rank{self._ranks.rank}"
        self._watchdog = self._stack.enter_context(Watchdog(self._folder.path, stage.stall_seconds, say, who))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def resume(self, state: TrainState) -> None:
        """Load the newest valid checkpoint, and take back the history rows beyond it.

        Raises:
            CheckpointError: it can't be read, or the history does not reach it.
        """
        self._overhead.meters["guard"] = lambda: state.guard_seconds
        step = self._ranks.from_first(self._newest_step)
        if step:
            state.load(self._folder, step)
            self._progress.say(f"resuming {self._folder.name} from step {step}")
        if self._history is not None:
            self._take_back(self._history, step)
            self._first_runtime = self._history.last_runtime
        self._began = time.monotonic()

    def step(self, row: Row) -> None:
        """Record a step's row, and show it."""
        row["runtime"] = round(self._first_runtime + time.monotonic() - self._began, 3)
        with self._overhead.of("history"):
            row |= memory_of(next(self._stage.model.parameters()).device)
            if self._history is not None:
                self._history.append(row)
        self._watchdog.stepped()
        self._progress.step(self._stage.name, row, self._stage.config.steps)

    @contextmanager
    def busy(self, doing: str, account: str) -> Iterator[None]:
        """While open, no step is expected, and the time is added to an account."""
        with self._watchdog.pause(doing), self._overhead.of(account):
            yield

    def draw(self, state: TrainState) -> None:
        """Draw what the averaged model makes of held-out clips."""
        with self.busy("drawing", "pictures"):
            average = state.whole_average()
            if average is not None:
                save_picture(self._stage.draw(average), self._folder, state.step)
            self._ranks.wait()

    def check(self) -> None:
        """Raise the error of a save that failed in the background.

        Raises:
            CheckpointError: see `Saver.check`.
        """
        if self._saver is not None:
            with self._naming_the_rank():
                self._saver.check()

    def save(self, state: TrainState) -> None:
        """Begin to save a state, after its rows have reached the disk.

        Raises:
            CheckpointError: see `Saver.check`.
        """
        with self.busy("saving", "saving"):
            if self._history is not None:
                self._history.sync()
            if self._sharded:
                self._save_shards(state)
            else:
                self._each(Saver.wait)  # whoever fails does so before all begin to gather
                if self._saver is None:
                    self._snapshot(state)  # our part in it
                else:
                    self._saver.save(lambda: self._snapshot(state))
            self._ranks.wait()

    def finish(self) -> None:
        """Wait until the last save is on the disk.

        Raises:
            CheckpointError: it failed.
        """
        with self.busy("saving", "saving"):
            if self._failures.newest is not None:
                raise self._failures.newest
            self._each(Saver.finish)

    def keep(self, state: TrainState) -> None:
        """Save the state before a refused step, if it can be saved."""
        try:
            self.save(state)
            self.finish()
        except CheckpointError as error:
            self._progress.say(f"what was reached before step {state.step} was not saved: {error}")

    def _snapshot(self, state: TrainState) -> Snapshot:
        """A copy of the state, with what its averaged weights make of the probe (L4 asks again)."""
        return state.snapshot(self._notes(state))

    def _notes(self, state: TrainState) -> dict[str, object]:
        average = state.whole_average()
        return {} if average is None else {"probe_loss": probe_loss(average, self._stage, self._config)}

    def _save_shards(self, state: TrainState) -> None:
        """In the foreground: it takes all processes. As with a `Saver`, some may fail, but not the last."""
        try:
            self._write_shards(state)
        except CheckpointError as error:
            self._failures.add(error)
        else:
            self._failures.forget()

    def _write_shards(self, state: TrainState) -> None:
        """Each process writes its part, and the first commits."""
        tensors, notes = state.tensors(), state.description() | self._notes(state)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        staging = Path(self._ranks.from_first(lambda: str(begin_shards(self._folder, state.step, size))))
        keep = self._stage.config.keep_checkpoints
        try:
            save_shards(tensors, staging, self._ranks)
            self._ranks.from_first(
                lambda: str(commit_shards(self._folder, state.step, staging, state=notes, keep=keep))
            )
        except CheckpointError:
            if self._ranks.is_first:  # what was written would fill the disk
                shutil.rmtree(staging, ignore_errors=True)
            raise

    def _newest_step(self) -> int:
        newest, passed_over = recover(self._folder)
        for judgement in passed_over:
            self._progress.say(f"passed over {judgement.path.name}: {judgement.reason}")
        ours = [each for each in passed_over if each.run_id == self._folder.run_id]
        if newest is None and ours:  # beginning anew would overwrite what may be mended
            reasons = "; ".join(f"{each.path.name}: {each.reason}" for each in ours[:3])
            raise CheckpointError(
                f"none of the checkpoints in {self._folder.checkpoints_path} is whole ({reasons})",
                "Restore one, or move them away: the stage then begins anew",
            )
        return checkpoint_step(newest) if newest else 0

    def _take_back(self, history: History, step: int) -> None:
        if history.last_step >= step:
            count = history.take_back(step - 1, f"resumed from step {step}")
            self._progress.say(f"{count} rows beyond step {step} were taken back")
        if history.last_step != step - 1:
            raise CheckpointError(
                f"{self._folder.history_path} ends at step {history.last_step}, "
                f"the checkpoint is of step {step}",
                "Restore the history, or move the checkpoint away to resume from an older one.",
            )

    def _each(self, act: Callable[[Saver], None]) -> None:
        """Do something with the saver; an error in the first process is raised in all."""

        def ours() -> None:
            if self._saver is not None:
                with self._naming_the_rank():
                    act(self._saver)

        if not self._ranks.is_first:
            ours()
        self._ranks.from_first(ours)

    @contextmanager
    def _naming_the_rank(self) -> Iterator[None]:
        """If several processes save, an error names the one that failed."""
        try:
            yield
        except RefusedStateError as error:
            if self._ranks.alone or self._sharded:  # shards are refused as a whole
                raise
            raise RefusedStateError(f"{error.what} (on rank {self._ranks.rank})", error.next_step) from error
