"""What decides how numbers round, beside configuration and footage: where it changed, a resume may differ."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from terrarium.errors import CheckpointError
from terrarium.run.checkpoint import read_state
from terrarium.run.folder import RunFolder
from terrarium.run.survey import list_checkpoints

KEY = "surroundings"  # in `state.json`
CPUINFO = Path("/proc/cpuinfo")
Surroundings = dict[str, str | int | None]


@cache
def surroundings(device: str, processes: int, strategy: str) -> Surroundings:
    """Of training on this device ("cpu", "cuda:0") in so many processes, by this strategy, here and now."""
    found: Surroundings = {name: version(name) for name in ("terrarium", "torch", "numpy")}
    found |= {"commit": commit(), "device": _device_name(device), "processes": processes}
    found |= {"strategy": strategy} if processes > 1 else {}
    return found | ({"threads": torch.get_num_threads()} if device == "cpu" else {})


def strategy_of(path: Path) -> str | None:
    """By which strategy several processes made a checkpoint; None where it was one, or it does not say."""
    made = read_state(path).get(KEY)
    strategy = made.get("strategy") if isinstance(made, dict) else None
    return strategy if isinstance(strategy, str) else None


def how_it_goes_on(run: RunFolder, now: Surroundings) -> str:
    """Whether a resume is bit for bit the run that was not stopped; "" where nothing was saved."""
    state = next(_states(run), None)
    if state is None:
        return ""
    before = state.get(KEY)
    if not isinstance(before, dict):
        return "whether it goes on bit for bit can't be told: its checkpoint doesn't say where it was made"
    changed = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
    if changed:
        return f"it goes on, but may not be bit for bit the run that was not stopped: {'; '.join(changed)}"
    return "it goes on bit for bit, as if it had not been stopped"


def _states(run: RunFolder) -> Iterator[dict[str, object]]:
    """What its checkpoints say, the newest of the last stage first, without those that can't be read."""
    for stage in reversed(run.stages()):
        for path in reversed(list_checkpoints(stage)):
            try:
                state = read_state(path)
            except (CheckpointError, ValueError):
                continue
            if state.get("run_id") == run.id:
                yield state


def commit() -> str | None:
    """The commit of the source tree, None where it is not one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _device_name(device: str) -> str:
    """The model of what computes: another one may add up in another order."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
