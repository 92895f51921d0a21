"""Training that stands still is noticed, and where it stands is written down; pauses are no stalls."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from terrarium.data.dataset import Dataset
from terrarium.data.loader import ALL, Rows
from terrarium.run.survey import list_checkpoints
from terrarium.train.interruption import Interrupted
from terrarium.train.loop import train_stage
from terrarium.train.pictures import Picture
from terrarium.train.stages import Stage
from terrarium.train.watchdog import NAME, PAUSED, UNKNOWN, Watchdog
from tiny_training import Told, make_folder, make_stage, timeless
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")
LEAST = 0.6
SETTINGS = ("video_tokenizer.steps=12", f"video_tokenizer.stall_seconds={LEAST}")


class Hanging:
    """Batches whose reading hangs at one step, until it is let go."""

    def __init__(self, batches: Any, step: int) -> None:
        self._batches, self._step = batches, step
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def batch(self, step: int, rows: Rows = ALL) -> Any:
        if step == self._step:
            self.hangs.set()
            self.go_on.wait(20)
        return self._batches.batch(step, rows)

    def identity(self, step: int) -> str:
        return str(self._batches.identity(step))


def hanging(stage: Stage, step: int) -> tuple[Stage, Hanging]:
    batches = Hanging(stage.batches, step)
    return dataclasses.replace(stage, batches=batches), batches


def wait_for(sign: Path, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not (sign.exists() and sign.stat().st_size):
        assert time.monotonic() < end, f"no {sign.name}"
        time.sleep(0.02)


def test_a_loader_that_hangs_is_told_and_the_stacks_are_written(footage: Dataset, tmp_path: Path) -> None:
    folder, config = make_folder(tmp_path / "run", "video_tokenizer"), tiny_config(*SETTINGS)
    stage, batches = hanging(make_stage(folder.name, footage, tmp_path, config), 8)

    def look() -> None:
        wait_for(folder.path / NAME)
        batches.go_on.set()

    watcher, told = threading.Thread(target=look), Told()
    watcher.start()
    train_stage(stage, folder, config, told)
    watcher.join()
    text = (folder.path / NAME).read_text()
    assert "in train_step" in text or "in __iter__" in text, "where the main thread is"
    assert "in batch" in text, "and the one that hangs"
    (stall, over) = (line for line in told.lines if NAME in line)
    assert stall.startswith("no step for ")
    assert over.startswith("it went on after ")
    assert len(timeless(folder)) == 12


def test_a_hanging_loader_does_not_keep_training_from_leaving(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrarium.data.loader.LEAVE_SECONDS", 0.5)
    folder, config = make_folder(tmp_path / "run", "video_tokenizer"), tiny_config(*SETTINGS)
    straight = make_folder(tmp_path / "straight", "video_tokenizer")
    train_stage(make_stage(folder.name, footage, tmp_path, config), straight, config, Told())
    stage, batches = hanging(make_stage(folder.name, footage, tmp_path, config), 8)

    def end_it() -> None:
        batches.hangs.wait(20)
        time.sleep(0.5)  # the last step is long taken
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    sender = threading.Thread(target=end_it)
    sender.start()
    began = time.monotonic()
    with pytest.raises(Interrupted, match="SIGTERM at step 8"):
        train_stage(stage, folder, config, Told())
    assert time.monotonic() - began < 15
    sender.join()
    batches.go_on.set()
    assert list_checkpoints(folder)[-1].name == "video_tokenizer_step_8", "not a step is lost"
    train_stage(make_stage(folder.name, footage, tmp_path, config), folder, config, Told())
    assert timeless(folder) == timeless(straight)


def test_announced_pauses_are_no_stalls(footage: Dataset, tmp_path: Path) -> None:
    folder, config = make_folder(tmp_path / "run", "video_tokenizer"), tiny_config(*SETTINGS)
    stage = make_stage(folder.name, footage, tmp_path, config)

    def draw(model: Any) -> Picture:
        time.sleep(2.5 * LEAST)
        return stage.draw(model)

    told = Told()
    train_stage(dataclasses.replace(stage, draw=draw), folder, config, told)
    assert not [line for line in told.lines if "no step" in line]
    assert not (folder.path / NAME).exists(), "nothing is left where nothing was to be told"


def test_patience_is_a_multiple_of_the_usual_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dog = Watchdog(tmp_path, 90.0, lambda _: None)
    assert dog.limit() == UNKNOWN * 90
    for seconds in (1, 1, 500):
        now[0] += seconds
        dog.stepped()
    assert dog.limit() == 90, "one slow step is not the usual one"
    for _ in range(20):
        now[0] += 60
        dog.stepped()
    assert dog.limit() == 360
    with dog.pause("saving"):
        assert dog.limit() == PAUSED * 360
        now[0] += 3000
    now[0] += 60
    dog.stepped()
    assert dog.limit() == 360, "a pause is no part of a step"


HELD = """
import ctypes, sys, time
from pathlib import Path
from terrarium.train.watchdog import Watchdog
with Watchdog(Path(sys.argv[1]), 0.3, print) as dog:
    dog.stepped()
    time.sleep(0.2)
    ctypes.PyDLL(None).usleep(1_500_000)  # holds the interpreter's lock: no thread of Python runs
"""


@pytest.mark.skipif(not hasattr(time, "CLOCK_MONOTONIC"), reason="usleep of the C library")
def test_even_where_no_thread_is_let_run_the_stacks_are_written(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", HELD, str(tmp_path)], check=True, timeout=60, capture_output=True)
    assert "Timeout" in (tmp_path / NAME).read_text()
