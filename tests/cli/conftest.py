"""Every test of the command line types in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from terrarium import pipeline
from terrarium.run.folder import RunFolder


@pytest.fixture(autouse=True)
def _here(quick_disk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test types in a folder of its own; reports are the doctor's to test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)


@pytest.fixture
def copied(trained: RunFolder, tmp_path: Path) -> Path:
    """The trained run, to be changed."""
    return Path(shutil.copytree(trained.path, tmp_path / "copied"))
