"""Run by torchrun: every stage by every strategy, in folders of its own.

torchrun --nproc-per-node N together.py FOOTAGE OUT STEPS [KEY=VALUE ...]

After so many steps of each stage (0: never) the first process is asked to leave. The last one is always late.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from terrarium.data.dataset import Dataset
from terrarium.errors import RankLostError
from terrarium.run.folder import STAGES, RunFolder
from terrarium.train.distributed import Ranks, joined
from terrarium.train.interruption import Interrupted
from terrarium.train.loop import train_stage
from tiny_training import Told, draw_nothing, make_stage, terminate_after
from tiny_world import tiny_config

STRATEGIES = ("ddp", "fsdp")
LATE = 0.05  # seconds in each step


ToInputs = Callable[[object], tuple[Tensor, ...]]


def train_all(ranks: Ranks, footage: Dataset, out: Path, steps: int, assignments: list[str]) -> None:
    """Each stage on models that have learnt nothing, in `out/<strategy>/<stage>`."""
    for strategy in STRATEGIES:
        kind = "sharded" if strategy == "fsdp" else "gathered"
        config = tiny_config(*assignments, f"ranks.strategy={strategy}", f"ranks.checkpoints={kind}")
        run = out / strategy
        if ranks.is_first and not (run / "run.json").exists():
            RunFolder.create(run, facts={})
        ranks.wait()
        for name in STAGES:
            folder = RunFolder.open(run).stage(name)
            stage = make_stage(name, footage, out / f"scratch{ranks.rank}", config)
            folder.create()
            stage = dataclasses.replace(stage, draw=draw_nothing)
            if ranks.rank == ranks.count - 1:
                stage = dataclasses.replace(stage, to_inputs=late(stage.to_inputs))
            progress = terminate_after(steps) if steps and ranks.is_first else Told()
            with contextlib.suppress(Interrupted, RankLostError):
                train_stage(stage, folder, config, progress, ranks=ranks)


def late(to_inputs: ToInputs) -> ToInputs:
    """The same, after a while."""

    def waits(batch: object) -> tuple[Tensor, ...]:
        time.sleep(LATE)
        return to_inputs(batch)

    return waits


if __name__ == "__main__":
    with joined(60) as together:
        train_all(
            together, Dataset.open(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
        )
