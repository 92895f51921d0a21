"""Runs that tests of the report may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from doctor_samples import make_run, make_small_run


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """A whole run."""
    return make_run(tmp_path / "2026_02_06_00_44_31")


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """A run of one row per stage."""
    return make_small_run(tmp_path / "small")
