"""Every test of the command line types in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrarium.run.folder import RunFolder


@pytest.fixture(autouse=True)
def _here(no_reports: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def copied(copied: RunFolder) -> Path:
    """The folder of the trained run, to be changed."""
    return copied.path
