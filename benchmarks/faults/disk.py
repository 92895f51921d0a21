"""Faults of checkpoints and disks: every one is done to real files, or by a process that is really killed."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from run_samples import commit, make_run, make_stage, sample_files, sample_state
from safetensors.numpy import load, save

from faults.fault import Fault, Outcome
from terrarium.errors import CheckpointError, RefusedStateError, RunError
from terrarium.run import disk
from terrarium.run.checkpoint import commit_checkpoint, judge, list_checkpoints, newest_valid, recover
from terrarium.run.history import History, read_history
from terrarium.run.lock import RunLock

Damage = Callable[[Path, random.Random], None]


def refused(folder: Path, files: dict[str, bytes]) -> Outcome:
    """A state that must not be saved is not, and says why; the one before it stays."""
    stage = make_stage(folder)
    old = commit(stage, 1)
    try:
        commit_checkpoint(stage, 2, files, state=sample_state(2), keep=1)
    except RefusedStateError:
        return Outcome(True, newest_valid(stage)[0] == old)
    return Outcome(False, False, lost_steps=1)


def empty_state(folder: Path, _seed: int) -> Outcome:
    """Every file holds an empty state."""
    return refused(folder, dict.fromkeys(sample_files(2), save({})))


def not_finite_state(folder: Path, _seed: int) -> Outcome:
    """One weight is NaN."""
    files = sample_files(2)
    weights = {name: array.copy() for name, array in load(files["model.safetensors"]).items()}
    weights["head.weight"].flat[3] = float("nan")
    return refused(folder, files | {"model.safetensors": save(weights)})


def killed_while_saving(folder: Path, seed: int) -> Outcome:
    """SIGKILL at a random moment of saving."""
    return after_death(folder, lambda: time.sleep(random.Random(seed).uniform(0.002, 0.03)))  # noqa: S311


def killed_before_latest(folder: Path, _seed: int) -> Outcome:
    """SIGKILL between the rename and `latest`."""
    return after_death(folder, None, "commit:renamed")


def after_death(folder: Path, wait: Callable[[], None] | None, failpoint: str = "") -> Outcome:
    """Fork a saver that dies; what it had committed must be whole, and `latest` right again."""
    stage = make_stage(folder)
    commit(stage, 1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["TERRARIUM_FAILPOINT"] = failpoint
        for step in range(2, 1000):
            commit(stage, step, keep=3)
            os.write(write, b"x")
        os._exit(0)
    os.close(write)
    if wait is not None:
        wait()
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as stream:
        told = 1 + len(stream.read())
    newest, passed_over = recover(stage)
    step = (judge(newest).step if newest else None) or 0
    latest = (stage.checkpoints_path / "latest").read_text().strip() if newest else ""
    kept = not passed_over and step in (told, told + 1) and newest is not None and latest == newest.name
    return Outcome(kept, kept, lost_steps=max(0, told - step))


def damaged(damage: Damage, files: int = 1) -> Callable[[Path, int], Outcome]:
    """The newest checkpoints are damaged; it must be noticed, and the one before them be named."""

    def inject(folder: Path, seed: int) -> Outcome:
        stage = make_stage(folder)
        for step in (1, 2, 3):
            commit(stage, step)
        for path in list_checkpoints(stage)[-files:]:
            damage(path, random.Random(seed))  # noqa: S311
        newest, passed_over = newest_valid(stage)
        seen = len(passed_over) == files and all(each.reason for each in passed_over)
        return Outcome(seen, newest == stage.checkpoint_path(3 - files))

    return inject


def truncate(path: Path, _dice: random.Random) -> None:
    """The last hundred bytes are gone."""
    file = path / "model.safetensors"
    os.truncate(file, max(0, file.stat().st_size - 100))


def flip_bit(path: Path, dice: random.Random) -> None:
    """One bit is another."""
    file = path / dice.choice(["model.safetensors", "ema.safetensors", "optimizer.safetensors"])
    content = bytearray(file.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def hole(path: Path, _dice: random.Random) -> None:
    """A stretch reads as zeros."""
    file = path / "optimizer.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-64] + bytes(64))


def nothing_left(path: Path, _dice: random.Random) -> None:
    """Every file has no bytes."""
    for file in path.iterdir():
        os.truncate(file, 0)


def missing_optimizer(folder: Path, _seed: int) -> Outcome:
    """The optimizer's file is gone: it is noticed, and the weights are said to be whole."""
    stage = make_stage(folder)
    path = commit(stage, 1)
    (path / "optimizer.safetensors").unlink()
    judgement = judge(path)
    return Outcome(not judgement.whole and bool(judgement.reason), bool(judgement.weights_whole))


def full_disk(folder: Path, _seed: int) -> Outcome:
    """Files may not grow: the kernel refuses in the midst of one; older ones stay though only one is kept."""
    stage = make_stage(folder)
    old = commit(stage, 1, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
    try:
        commit(stage, 2, keep=1)
        seen = False
    except CheckpointError as error:
        seen = "can't be saved" in str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    return Outcome(seen, newest_valid(stage)[0] == old)


def failing_disk(folder: Path, _seed: int) -> Outcome:
    """fsync raises EIO."""
    stage = make_stage(folder)
    old = commit(stage, 1, keep=1)
    with mock.patch.object(os, "fsync", side_effect=OSError(errno.EIO, "Input/output error")):
        try:
            commit(stage, 2, keep=1)
            seen = False
        except CheckpointError as error:
            seen = "Input/output error" in str(error)
    return Outcome(seen, newest_valid(stage)[0] == old)


def stale_step(folder: Path, _seed: int) -> Outcome:
    """A higher step of an earlier run lies in the folder: told, and not taken."""
    stage, other = make_stage(folder / "run"), make_stage(folder / "other")
    old = commit(stage, 1)
    shutil.copytree(commit(other, 99), stage.checkpoint_path(99))
    newest, passed_over = recover(stage)
    return Outcome(any("run" in each.reason for each in passed_over), newest == old)


def wrong_stage(folder: Path, _seed: int) -> Outcome:
    """The checkpoint of another stage lies in the folder."""
    run = make_run(folder)
    stage, other = run.stage("dynamics").create(), run.stage("video_tokenizer").create()
    commit(other, 5)
    shutil.copytree(other.checkpoint_path(5), stage.checkpoint_path(5))
    judgement = judge(stage.checkpoint_path(5), run_id=run.id, kind="dynamics")
    return Outcome(not judgement.whole and bool(judgement.reason), newest_valid(stage)[0] is None)


def two_launchers(folder: Path, _seed: int) -> Outcome:
    """A second launcher on one run: refused by name, the first goes on."""
    run = make_run(folder)
    with RunLock(run.path):
        child = os.fork()
        if child == 0:
            try:
                with RunLock(run.path):
                    os._exit(0)
            except RunError as error:
                os._exit(7 if str(os.getppid()) in str(error) else 8)
        _, status = os.waitpid(child, 0)
    return Outcome(os.waitstatus_to_exitcode(status) == 7, True)


def torn_history(folder: Path, _seed: int) -> Outcome:
    """The last row is torn, and steps are there twice: one line is lost, the rest stays and grows."""
    stage = make_stage(folder)
    lines = [disk.dump_json({"step": step, "loss": 1.0}) for step in (0, 1, 2, 3, 2, 3, 4)]
    stage.history_path.write_bytes(b"".join(lines) + b'{"step": 5, "lo')
    damaged_lines = read_history(stage.history_path).skipped
    with History(stage):
        pass
    steps = [row["step"] for row in read_history(stage.history_path).rows]
    return Outcome(damaged_lines == 1, steps == [0, 1, 2, 3, 4])


def untouched(folder: Path, _seed: int) -> Outcome:
    """Nothing is wrong: a copy elsewhere is whole."""
    stage = make_stage(folder / "run")
    copied = shutil.copytree(commit(stage, 1), folder / "elsewhere" / "dynamics_step_1")
    return Outcome(not judge(Path(copied)).whole, True)


FAULTS = (
    Fault(2, "empty state", empty_state),
    Fault(3, "killed while saving", killed_while_saving),
    Fault(4, "killed between rename and latest", killed_before_latest),
    Fault(7, "file truncated", damaged(truncate)),
    Fault(8, "bit flipped", damaged(flip_bit)),
    Fault(9, "hole in a file", damaged(hole)),
    Fault(10, "last two of no bytes", damaged(nothing_left, files=2)),
    Fault(11, "optimizer missing", missing_optimizer),
    Fault(12, "NaN in the weights", not_finite_state),
    Fault(13, "disk full", full_disk),
    Fault(14, "disk fails", failing_disk),
    Fault(18, "one kept, the next save fails", full_disk),
    Fault(19, "step of an earlier run", stale_step),
    Fault(21, "checkpoint of another stage", wrong_stage),
    Fault(44, "two launchers", two_launchers),
    Fault(46, "history torn and repeated", torn_history),
    Fault(0, "a copied checkpoint", untouched, healthy=True),
)
