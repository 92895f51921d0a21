"""A job across two hosts, of which one is cut off and brought back. Needs root: the hosts are namespaces.

    python benchmarks/hosts.py [--cut 20] [--seed 0]

Both hosts run `torchrun --nnodes=2` with a c10d rendezvous at the first one's address; they see each other
over a pair of virtual cables alone, and share a disk. In the midst of training the second one's cable is
unplugged for some seconds. A launcher that gives up is started again, as a cluster would. In the end the run
is compared, bit for bit, with one across the same hosts that was left alone. Exits with 1 where it differs or
does not end.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from terrarium.run.folder import STAGES, RunFolder
from terrarium.run.sameness import differences
from tiny_world import as_options, store_footage

Launcher = subprocess.Popen[bytes]
HOSTS = ("10.77.0.1", "10.77.0.2")
PORT = 29517
PATIENCE = 900.0  # seconds that a job may take
SETTINGS = (
    *(f"{name}.steps=150" for name in STAGES),
    *(f"{name}.batch_size=6" for name in STAGES),
    *(f"{name}.checkpoint_every=10" for name in STAGES),
    *(f"{name}.picture_every=150" for name in STAGES),
    "ranks.timeout_seconds=10",
)


@click.command()
@click.option("--cut", default=20.0, show_default=True, help="Seconds without a cable.")
@click.option("--seed", default=0, show_default=True)
def main(cut: float, seed: int) -> None:
    """Train across two hosts, unplug one, and compare."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the hosts are taken away
    dice = random.Random(seed)  # noqa: S311 - no secret: when to unplug
    with tempfile.TemporaryDirectory() as scratch, hosts() as names:
        folder = Path(scratch)
        data = store_footage(folder / "footage", (32, 32)).path
        took, _ = job(names, data, folder / "straight", None, 0)
        print(f"left alone: {took:.0f} s", flush=True)
        took, starts = job(names, data, folder / "cut", dice.randrange(15, 100), cut)
        print(f"cut off for {cut:.0f} s: {took:.0f} s, launchers started {starts} times", flush=True)
        found = differences(RunFolder.open(folder / "cut"), RunFolder.open(folder / "straight"))
    print("; ".join(found) or "history, weights, average and optimizer are the same")
    sys.exit(1 if found else 0)


@contextmanager
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces that are joined by a pair of virtual cables; gone at the end."""
    names = f"terrarium-{os.getpid()}-a", f"terrarium-{os.getpid()}-b"
    cables = f"tr{os.getpid()}a", f"tr{os.getpid()}b"
    for name in names:
        ip("netns", "add", name)
    try:
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, HOSTS, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "link", "set", cable, "name", "cable")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def ip(*words: str) -> None:
    """What an administrator types."""
    subprocess.run(["ip", *words], check=True)


def job(names: tuple[str, str], data: Path, run: Path, unplug: int | None, cut: float) -> tuple[float, int]:
    """Train across both hosts; the second is unplugged after so many steps. Seconds, launchers started."""
    began, starts, ended = time.monotonic(), 0, [False, False]
    with (run.parent / f"{run.name}.log").open("w") as said:
        launchers = [start(names, index, data, run, said) for index in range(2)]
        starts += 2
        try:
            while not all(ended):
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"the job did not end: see {said.name}")
                time.sleep(0.1)
                if unplug is not None and steps(run) >= unplug:
                    ip("-n", names[1], "link", "set", "cable", "down")
                    time.sleep(cut)
                    ip("-n", names[1], "link", "set", "cable", "up")
                    unplug = None
                for index, launcher in enumerate(launchers):
                    code = launcher.poll()
                    if code == 0:
                        ended[index] = True
                    elif code is not None:
                        launchers[index] = start(names, index, data, run, said)
                        starts += 1
        finally:
            for launcher in launchers:
                launcher.terminate()
            for launcher in launchers:
                launcher.wait()
    return time.monotonic() - began, starts


def start(names: tuple[str, str], index: int, data: Path, run: Path, said: IO[str]) -> Launcher:
    """The launcher of a host."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launcher += ["--rdzv-backend=c10d", f"--rdzv-endpoint={HOSTS[0]}:{PORT}", "--rdzv-id=terrarium"]
    launcher += [f"--rdzv-conf=is_host={int(index == 0)}"]  # the hosts have no names to tell by
    launcher += [f"--local-addr={HOSTS[index]}", "--max-restarts=10", "--shutdown-timeout=5", "-m", "--"]
    train = ["terrarium", "train", "--data", str(data), "--run", str(run), "--preset", "quick"]
    words = ["ip", "netns", "exec", names[index], *launcher, *train, *as_options(*SETTINGS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
    return subprocess.Popen(words, env=environment, stdout=said, stderr=said)


def steps(run: Path) -> int:
    """Of the first stage, so far."""
    history = run / STAGES[0] / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0


if __name__ == "__main__":
    main()
