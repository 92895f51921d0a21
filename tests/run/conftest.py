"""What tests of checkpoints share."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_samples import commit, make_stage

from terrarium.run.folder import StageFolder


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    """A stage of a new run."""
    return make_stage(tmp_path)


@pytest.fixture
def checkpoint(stage: StageFolder) -> Path:
    """Its one checkpoint, of step 100."""
    return commit(stage, 100)
