"""Several processes that train one model: who they are, and what they tell each other.

`torchrun` starts them and says in the environment who is who. The first one (rank 0) alone names, writes and
decides; the others are told what came of it, errors included, so that all go on or all leave.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from terrarium import errors, launched
from terrarium.errors import RankLostError, TerrariumError, UsageError
from terrarium.models.share import Share, sharing
from terrarium.models.step_result import StepResult
from terrarium.train.interruption import Interrupted
from terrarium.train.rendezvous import store_of_this_start

# while the first process asks the doctor, draws or saves; the launcher sees who is dead
PATIENCE = timedelta(days=7)
GO_ON = "The launcher starts all of them again; otherwise start them yourself."


@dataclass
class Meter:
    """When we first needed the other processes, since this was last set to None."""

    first_at: float | None = None

    def mark(self) -> None:
        """We need them now."""
        self.first_at = self.first_at or time.monotonic()


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default.

    Attributes:
        rank: 0 to count - 1.
        count: of processes.
        local_rank: the same among those of this machine: which GPU is ours.
        patient: the group in which one may be waited for long; for processes that are not alone.
        meter: of when we were ready for the others.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    patient: dist.ProcessGroup | None = None
    meter: Meter = field(default_factory=Meter)

    @property
    def writes(self) -> bool:
        """Whether we save checkpoints. Only one may: this is the one place where that is decided."""
        return self.is_first

    @property
    def is_first(self) -> bool:
        """Whether we write and decide."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    def device(self, chosen: torch.device) -> torch.device:
        """Our own GPU, where GPUs were chosen."""
        if chosen.type != "cuda":
            return chosen
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def share(self, total: int) -> range:
        """Which rows of a batch of so many are ours; as equal shares as can be.

        Raises:
            UsageError: some process would have none.
        """
        if total < self.count:
            raise UsageError(
                f"a (part of a) batch of {total} clips leaves some of {self.count} processes without any",
                "Start fewer processes, raise batch_size or lower gradient_accumulation.",
            )
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def largest_share(self, total: int) -> int:
        """How many rows of a batch of so many the process with the most of them has."""
        return -(-total // self.count)

    def sharing(self, total: int) -> AbstractContextManager[None]:
        """While open, what models are given is our share of a batch of so many rows."""
        return nullcontext() if self.alone else sharing(Share(self.share(total), total, self.add_up))

    def add_up(self, x: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if not self.alone:
            self.meter.mark()
            dist.all_reduce(x)
        return x

    def wait(self) -> None:
        """Until all have come here."""
        if not self.alone:
            dist.barrier(group=self.patient)

    def whole(self, result: StepResult, rows: int) -> tuple[StepResult, Tensor | float]:
        """Means over a share of a batch to means over the batch.

        Args:
            result: of our share.
            rows: in it.

        Returns:
            The result for the whole batch, without gradient, and what our loss is to be multiplied by so that
            the *mean* over processes of its gradients is the gradient of the whole batch's loss.
        """
        if self.alone:
            return result, 1.0
        names, device = list(result.measures), result.loss.device
        counted = torch.tensor(float(rows), device=device)
        weight = counted if result.weight is None else result.weight
        weights = torch.stack([weight, *(result.weights.get(name, counted) for name in names)]).double()
        values = torch.stack([result.loss.detach(), *(result.measures[name] for name in names)]).double()
        # what is not finite here must be so for all: they refuse the step together
        sums, totals = self.add_up(torch.stack([values * weights, weights]))
        loss, *measures = (sums / totals.clamp(min=1)).float()
        factor = self.count * (weights[0] / totals[0].clamp(min=1)).float()
        return StepResult(loss, dict(zip(names, measures, strict=True))), factor

    def told(self, value: Any) -> Any:
        """What the first process says, as JSON; ours is not looked at where we are not the first."""
        if self.alone:
            return value
        said = json.dumps(value).encode() if self.is_first else b""
        length = torch.tensor([len(said)])
        dist.broadcast(length, 0, group=self.patient)
        content = torch.frombuffer(bytearray(said), dtype=torch.uint8) if self.is_first else None
        if content is None:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self.patient)
        return json.loads(content.numpy().tobytes())

    def from_first(self, act: Callable[[], Any]) -> Any:
        """Let the first process do something; all get what came of it.

        Args:
            act: gives something that can be said as JSON.

        Raises:
            TerrariumError: it failed, there; the same error everywhere.
            Interrupted: the first one was asked to leave; the others lose it.
        """
        if self.alone:
            return act()
        said: dict[str, Any] = {}
        if self.is_first:
            try:
                said = {"value": act()}
            except TerrariumError as error:
                self.told({"error": [type(error).__name__, error.what, error.next_step]})
                raise
            except Interrupted as stopped:
                self.told({"interrupted": str(stopped)})
                raise
        match self.told(said):
            case {"error": [str(name), str(what), str(next_step)]}:
                told: TerrariumError = getattr(errors, name)(what, next_step)
                told.told = True
                raise told
            case {"interrupted": str(why)}:
                lost = RankLostError(why, GO_ON)
                lost.told = True
                raise lost
            case answer:
                return answer["value"]

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """The figures of every process, in the order of ranks."""
        mine = torch.tensor(values, dtype=torch.float64)
        if self.alone:
            return [mine.tolist()]
        all_of_them = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(all_of_them, mine, group=self.patient)
        return [each.tolist() for each in all_of_them]


ALONE = Ranks()


@contextmanager
def joined(timeout_seconds: float) -> Iterator[Ranks]:
    """Join the processes that were started together; alone where there is no launcher.

    Args:
        timeout_seconds: longest that a process may keep the others waiting within a step.

    Raises:
        RankLostError: another process left, or can't be reached.
    """
    if launched.count() == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        rank, count, timeout = launched.rank(), launched.count(), timedelta(seconds=timeout_seconds)
        store = store_of_this_start(rank, count, timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield Ranks(rank, count, launched.local_rank(), patient)
    except (dist.DistError, RuntimeError) as error:
        if not _is_of_another(error):
            raise
        lost = RankLostError(
            f"another of the processes that train together is gone: {_first_words(error)}",
            f"Its own message says why. {GO_ON}",
        )
        lost.told = launched.local_rank() > 0  # one voice for each machine
        raise lost from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _first_words(error: Exception) -> str:
    """What it says before its advice."""
    return str(error).partition("\n")[0].partition(". ")[0]


def _is_of_another(error: Exception) -> bool:
    words = (
        "Connection closed by peer",
        "Connection reset",
        "Timed out",
        "timeout",
        "Broken pipe",
        "gloo",
        "NCCL",
    )
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
