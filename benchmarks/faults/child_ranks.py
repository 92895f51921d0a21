"""What can go wrong in one of several processes; names for `child.py`. Nothing happens in the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from terrarium import launched
from terrarium.run.rows import Row
from terrarium.train import exchange, loop
from terrarium.train.distributed import Ranks
from terrarium.train.step import train_step

ILL = 1  # the rank that goes wrong


def all_save(_: float) -> None:
    """The guard is gone: every process thinks that it is the one that saves."""
    Ranks.writes = property(lambda _: True)  # type: ignore[assignment, method-assign]


def same_clips(_: float) -> None:
    """Every process draws what the first one draws, as if all had one seed."""
    share = Ranks.share

    def first(self: Ranks, total: int) -> range:
        mine = share(self, total)
        return range(len(mine))

    Ranks.share = first  # type: ignore[method-assign]


def slow_rank(seconds: float) -> None:
    """One process takes longer over every step."""
    _before_steps(lambda _: time.sleep(seconds))


def dead_rank(step: float) -> None:
    """One process is killed, the first time that it comes to a step."""
    _signal(step, signal.SIGKILL)


def stopped_rank(step: float) -> None:
    """One process stands still for ever, the first time that it comes to a step."""
    _signal(step, signal.SIGSTOP)


def rank_clock(seconds: float) -> None:
    """The wall clock of one process is ahead."""

    class Ahead:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + seconds

    if launched.rank() == ILL:
        vars(exchange)["time"] = Ahead


def bad_clip(step: float) -> None:
    """A clip that one process draws is not finite, the first time that it comes to a step."""
    done: list[int] = []

    def poisoned(state: Any, stage: Any, inputs: Any, *rest: Any) -> Row:
        ill = state.step == step and not done
        done.extend([1] if ill else [])
        return train_step(
            state, stage, tuple(each * float("nan") for each in inputs) if ill else inputs, *rest
        )

    if launched.rank() == ILL:
        vars(loop)["train_step"] = poisoned


def no_room(clips: float) -> None:
    """The memory of one process has no room for more clips than these in a forward pass."""
    watched: list[int] = []

    def refuse(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > clips and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def watch(state: Any) -> None:
        if not watched:
            watched.append(1)
            state.model.register_forward_pre_hook(refuse)

    _before_steps(watch)


SPOILS: dict[str, Callable[[float], None]] = {
    "all-save": all_save,
    "same-clips": same_clips,
    "slow-rank": slow_rank,
    "bad-clip": bad_clip,
    "no-room-for-more-than": no_room,
    "dead-rank": dead_rank,
    "stopped-rank": stopped_rank,
    "rank-clock": rank_clock,
}


def _signal(step: float, number: signal.Signals) -> None:
    """To itself, before a step, where the launcher has not yet started it anew."""

    def signalled(state: Any) -> None:
        if state.step == step and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), number)

    _before_steps(signalled)


def _before_steps(does: Callable[[Any], Any]) -> None:
    if launched.rank() != ILL:
        return
    take = vars(loop)["train_step"]

    def taken(state: Any, *rest: Any) -> Row:
        does(state)
        row: Row = take(state, *rest)
        return row

    vars(loop)["train_step"] = taken
