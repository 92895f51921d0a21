"""The arithmetic of several processes: bytes moved, memory, step time; on paper and measured where one can.

    python benchmarks/scaling.py               # the table on paper, for every preset and stage
    python benchmarks/scaling.py --measure     # two and three processes of one thread, beside the paper

Bytes are counted by the loopback device of a network namespace of its own (Linux, root), so that nobody
else's are among them. P is the number of parameters, n that of processes, all numbers are fp32.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from terrarium.config import Config, override  # noqa: E402
from terrarium.presets import PRESETS, preset  # noqa: E402
from terrarium.run.folder import STAGES  # noqa: E402

NUMBER = 4  # bytes
STEPS = 10
SIZE = (64, 64)


def moved(parameters: int, ranks: int, strategy: str) -> float:
    """Bytes that each process sends in a step.

    DDP: one ring all-reduce of the gradients, 2 (n - 1) / n of them. FSDP2: two all-gathers of the weights
    (forward and backward) and one reduce-scatter of the gradients, (n - 1) / n each (Rajbhandari et al. 2020,
    "ZeRO", section 7).
    """
    passes = {"ddp": 2, "fsdp": 3}[strategy]
    return passes * (ranks - 1) / ranks * NUMBER * parameters


def held(parameters: int, ranks: int, strategy: str) -> float:
    """Bytes of state in each process, activations not counted.

    Weights, gradients, two moments of AdamW and the average; DDP keeps its buckets of gradients besides. In
    shards each has one n-th, and one block at a time is whole (not counted: it depends on the model).
    """
    numbers = 5 * parameters
    if ranks == 1:
        return NUMBER * numbers
    return NUMBER * (numbers + parameters if strategy == "ddp" else numbers / ranks)


@click.command()
@click.option("--measure", is_flag=True)
@click.option("--worker", nargs=2, hidden=True, help="Footage and strategy: one of the processes.")
def main(measure: bool, worker: tuple[str, str] | None) -> None:
    """Print one of the tables."""
    if worker:
        work(Path(worker[0]), worker[1])
    else:
        Console(width=140, highlight=False).print(measured() if measure else on_paper())


def on_paper() -> Table:
    """Every preset and stage, for one, two and eight processes."""
    columns = ("preset", "stage", "parameters", "state, alone", "DDP x 8", "FSDP x 8")
    table = Table(*columns, "DDP sends, x 2", "x 8", "FSDP sends, x 2", "x 8", box=box.MARKDOWN)
    for name in PRESETS:
        for stage in STAGES:
            count = parameters_of(preset(name), stage)
            states = held(count, 1, "ddp"), held(count, 8, "ddp"), held(count, 8, "fsdp")
            sent = [moved(count, ranks, how) for how in ("ddp", "fsdp") for ranks in (2, 8)]
            cells = [f"{number / 2**20:.1f} MiB" for number in (*states, *sent)]
            table.add_row(name, stage, f"{count:,}", *cells)
    return table


def parameters_of(config: Config, stage: str) -> int:
    """How many numbers a stage trains, on frames of 64x64."""
    from terrarium.models.build import build_dynamics, build_latent_actions, build_tokenizer

    if stage == "video_tokenizer":
        model: object = build_tokenizer(config, *SIZE)
    elif stage == "latent_actions":
        model = build_latent_actions(config)
    else:
        model = build_dynamics(config, *SIZE)
    return sum(each.numel() for each in model.parameters() if each.requires_grad)  # type: ignore[attr-defined]


def measured() -> Table:
    """The tokenizer of the quick preset, in processes of one thread each."""
    from tiny_world import store_footage

    count = parameters_of(the_config(), STAGES[0])
    table = Table("processes", "strategy", "sent by each, paper", "measured", "s/step", box=box.MARKDOWN)
    with tempfile.TemporaryDirectory() as scratch:
        data = store_footage(Path(scratch) / "footage", SIZE).path
        for strategy, ranks in (("ddp", 1), ("ddp", 2), ("ddp", 3), ("fsdp", 2), ("fsdp", 3)):
            found = start(ranks, data, strategy)
            paper = moved(count, ranks, strategy) / 2**20
            sent = found["bytes"] / ranks / 2**20
            table.add_row(
                str(ranks), strategy, f"{paper:.2f} MiB", f"{sent:.2f} MiB", f"{found['seconds']:.3f}"
            )
    return table


def the_config() -> Config:
    """Of what is measured."""
    return override(preset("quick"), ["video_tokenizer.batch_size=24"])


def start(ranks: int, data: Path, strategy: str) -> dict[str, float]:
    """Run the worker in so many processes, in a network of their own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={ranks}"]
    launcher += [
        "--master-addr=127.0.0.1",
        "--master-port=29500",
        "--",
        __file__,
        "--worker",
        str(data),
        strategy,
    ]
    words = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *launcher]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if ended.returncode:
        raise click.ClickException(ended.stderr[-2000:])
    found: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def work(data: Path, strategy: str) -> None:
    """Take some steps; the first process prints bytes and seconds of one."""
    import torch

    from terrarium.data.dataset import Dataset
    from terrarium.train.adjustments import UNCHANGED
    from terrarium.train.distributed import joined
    from terrarium.train.stages import tokenizer_stage
    from terrarium.train.state import TrainState
    from terrarium.train.step import Adjusted, train_step

    config = the_config()
    torch.set_flush_denormal(True)
    with joined(60) as ranks:
        stage = tokenizer_stage(config, Dataset.open(data), torch.device("cpu"))
        state = TrainState.begin(stage.model, stage.config, ranks, strategy)
        batches = Adjusted(stage, UNCHANGED, ranks)
        before, began = 0, 0.0
        for step in range(STEPS + 2):
            if step == 2:  # what is made once has been made
                ranks.wait()
                before, began = sent(), time.monotonic()
            train_step(state, stage, stage.to_inputs(batches.batch(step)), config)
        ranks.wait()
        seconds = (time.monotonic() - began) / STEPS
        if ranks.is_first:
            print(json.dumps({"bytes": (sent() - before) / STEPS, "seconds": seconds}), flush=True)
        ranks.wait()


def sent() -> int:
    """Bytes that went over the loopback device of this network."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    (loopback,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(loopback.split(":")[1].split()[8])


if __name__ == "__main__":
    main()
