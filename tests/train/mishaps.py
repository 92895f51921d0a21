"""What goes wrong in one of two processes, one mishap after the other, and how both end.

python mishaps.py FOOTAGE OUT

Torch is imported once; each process of each mishap is a fork, since only its exit ends what others wait for.
How it ended goes to `OUT/<mishap>-<rank>.txt`: the error's name and words.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from terrarium import launched
from terrarium.data.dataset import Dataset
from terrarium.data.loader import ClipSampler
from terrarium.errors import CheckpointError, DataError, RunError, TerrariumError
from terrarium.run.folder import RunFolder
from terrarium.run.sharded import commit_shards
from terrarium.train import records, saver
from terrarium.train.distributed import joined
from terrarium.train.interruption import Interrupted
from terrarium.train.loop import train_stage
from terrarium.train.pictures import Picture
from terrarium.train.stages import Stage
from tiny_training import Told, draw_nothing, make_stage
from tiny_world import tiny_config

NAME = "video_tokenizer"
GATHERED, SHARDED = "fsdp gathered", "fsdp sharded"
PATIENCE = 60.0  # seconds that a process would hang
Mishap = Callable[[ExitStack, Stage], Stage]


def full(*_: object, **__: object) -> Path:
    """A disk that takes nothing, and takes its time to say so."""
    time.sleep(0.5)
    raise CheckpointError("the disk is full")


def full_disk(stack: ExitStack, stage: Stage) -> Stage:
    """No checkpoint of the first process can be written."""
    stack.enter_context(patch.object(saver, "commit_checkpoint", full))
    return stage


def full_disk_and_no_number(stack: ExitStack, stage: Stage) -> Stage:
    """Likewise, and a step is refused while that is still being found out: more can't be saved, either."""
    taken: list[object] = []

    def poisoned(batch: object) -> tuple[torch.Tensor, ...]:
        taken.append(batch)
        return tuple(each * (float("nan") if len(taken) > 2 else 1) for each in stage.to_inputs(batch))

    full_disk(stack, stage)
    return dataclasses.replace(stage, to_inputs=poisoned) if launched.rank() == 1 else stage


def disk_full_once(stack: ExitStack, stage: Stage) -> Stage:
    """The first checkpoint can't be written, the others can."""
    commit, calls = commit_shards, []

    def once(*words: object, **more: object) -> Path:
        calls.append(words)
        return full() if len(calls) == 1 else commit(*words, **more)  # type: ignore[arg-type]

    stack.enter_context(patch.object(records, "commit_shards", once))
    return stage


def part_unwritten(stack: ExitStack, stage: Stage) -> Stage:
    """The second process can't write its part of any checkpoint."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if launched.rank() == 1:
        writer = "torch.distributed.checkpoint.hf_storage.HuggingFaceStorageWriter.write_data"
        stack.enter_context(patch(writer, fails))
    return stage


def bad_footage(stack: ExitStack, stage: Stage) -> Stage:
    """The second process can't read its clips."""

    def unreadable(*_: object) -> None:
        raise DataError("episode-000003.npy can't be read")

    if launched.rank() == 1:
        stack.enter_context(patch.object(ClipSampler, "batch", unreadable))
    return stage


def no_picture(stack: ExitStack, stage: Stage) -> Stage:
    """The first process can't draw."""

    def fails(_: nn.Module) -> Picture:
        raise RunError("the picture can't be written")

    return dataclasses.replace(stage, draw=fails)


def one_is_asked(stack: ExitStack, stage: Stage) -> Stage:
    """The second process alone gets SIGTERM, while it makes ready for its third step."""
    taken: list[object] = []

    def asked(batch: object) -> tuple[torch.Tensor, ...]:
        taken.append(batch)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGTERM)
        return stage.to_inputs(batch)

    return dataclasses.replace(stage, to_inputs=asked) if launched.rank() == 1 else stage


MISHAPS: tuple[tuple[Mishap, str], ...] = (
    (full_disk, GATHERED),
    (full_disk_and_no_number, GATHERED),
    (disk_full_once, SHARDED),
    (part_unwritten, SHARDED),
    (bad_footage, GATHERED),
    (no_picture, SHARDED),
    (one_is_asked, GATHERED),
)


def meet(mishap: Mishap, how: str, footage: Dataset, run: Path) -> str:
    """Train with it; how it ended, here."""
    strategy, checkpoints = how.split()
    ranks_settings = f"ranks.strategy={strategy}", f"ranks.checkpoints={checkpoints}"
    may_fail = 1 if how == GATHERED else 2
    config = tiny_config(*ranks_settings, f"{NAME}.checkpoint_every=2", f"{NAME}.failed_saves={may_fail}")
    try:
        with joined(PATIENCE) as ranks, ExitStack() as stack:
            path = ranks.from_first(lambda: str(RunFolder.create(run, facts={}).stage(NAME).create().path))
            folder = RunFolder.open(Path(path).parent).stage(NAME)
            stage = dataclasses.replace(make_stage(NAME, footage, run, config), draw=draw_nothing)
            train_stage(mishap(stack, stage), folder, config, Told(), ranks=ranks)
    except (TerrariumError, Interrupted) as ended:
        return f"{type(ended).__name__}: {ended}"
    return "trained"


def start(mishap: Mishap, how: str, footage: Dataset, out: Path, rank: int, port: int) -> int:
    """A process of two that meets a mishap."""
    pid = os.fork()
    if pid:
        return pid
    told = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in told.items()})
    ended = meet(mishap, how, footage, out / mishap.__name__)
    (out / f"{mishap.__name__}-{rank}.txt").write_text(ended)
    os._exit(0)


def free_port() -> int:
    """One that nobody listens at."""
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    squares, folder = Dataset.open(Path(sys.argv[1])), Path(sys.argv[2])
    for each, strategy in MISHAPS:
        free = free_port()
        for pid in [start(each, strategy, squares, folder, rank, free) for rank in range(2)]:
            os.waitpid(pid, 0)
