"""What all tests share. Torch is imported by those tests alone that need it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for every process that a test starts
# who is started in the background of a shell ignores Ctrl-C, and so would every process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("terrarium", deadline=None, derandomize=True)  # no test fails on a busy machine
settings.load_profile("terrarium")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from terrarium.data.dataset import Dataset
    from terrarium.run.folder import RunFolder


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Training lets the processor flush them, for the whole process; Hypothesis refuses to work like that."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here, and waiting for disks takes time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def no_reports(quick_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that writes no report: those are the doctor's to test."""
    from terrarium import pipeline

    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Moving squares of 32x32, with true actions."""
    from tiny_world import store_footage

    return store_footage(tmp_path_factory.mktemp("footage") / "squares", (32, 32))


@pytest.fixture(scope="session")
def trained(footage: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose three stages took a few steps. To be read only; copy it to change it."""
    from terrarium.pipeline import train
    from tiny_training import Told
    from tiny_world import tiny_config

    return train(tmp_path_factory.mktemp("trained") / "run", footage.path, tiny_config(), Told())


@pytest.fixture
def copied(trained: RunFolder, tmp_path: Path) -> RunFolder:
    """The trained run, to be changed."""
    from terrarium.run.folder import RunFolder

    return RunFolder.open(shutil.copytree(trained.path, tmp_path / "copied"))
