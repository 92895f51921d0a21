"""Checkpoints that would run a program when they are unpickled: told, and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.fault import Fault, Outcome, dice_of
from terrarium.doctor.examine import examine
from terrarium.doctor.readers.gather import gather
from terrarium.run.survey import judge_path

FILES = ("model_state_dict.pt", "optim_state_dict.pt", "state.pt")
CALLS: tuple[tuple[Callable[..., Any], Callable[[Path], tuple[Any, ...]]], ...] = (
    (os.system, lambda mark: (f"touch {mark}",)),
    (subprocess.check_call, lambda mark: (["touch", str(mark)],)),
    (exec, lambda mark: (f"open({str(mark)!r}, 'w')",)),
    (eval, lambda mark: (f"open({str(mark)!r}, 'w')",)),
    (Path.touch, lambda mark: (mark,)),
)


class Bomb:
    """Whoever unpickles this calls what it holds."""

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._call, self._arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call, self._arguments


def zipped(content: bytes) -> bytes:
    """As torch has saved since 2020."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def hostile_pickle(folder: Path, seed: int) -> Outcome:
    """One file of a checkpoint runs a program when it is unpickled; that it would is tried first."""
    dice, mark = dice_of(seed), folder / "mark"
    call, arguments = CALLS[seed % len(CALLS)]
    content = pickle.dumps({"weight": Bomb(call, arguments(mark))}, protocol=dice.choice([2, 4]))
    pickle.loads(content)  # noqa: S301 - it is ours: a bomb that is none would prove nothing
    armed = mark.exists()
    mark.unlink(missing_ok=True)
    checkpoint = folder / "run" / "dynamics" / "checkpoints" / f"dynamics_step_{dice.randrange(1, 10**5)}"
    checkpoint.mkdir(parents=True)
    for name in FILES:
        (checkpoint / name).write_bytes(zipped(pickle.dumps({"step": 1}, protocol=2)))
    file = checkpoint / dice.choice(FILES)
    file.write_bytes(zipped(content) if dice.random() < 0.7 else content)
    told = [each.code for each in examine(gather([folder / "run"])).findings]
    judge_path(checkpoint)
    return Outcome(armed and "checkpoint-hostile" in told, not mark.exists(), detail=f"{file.name}: {told}")


FAULTS = (Fault(22, "hostile pickle", hostile_pickle, quick=True),)
