from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from terrarium.data.dataset import Dataset

PAGE = Path(__file__).parents[2] / "docs" / "add-a-source.md"


def test_the_sample_source_runs(tmp_path: Path) -> None:
    (sample,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    command = [sys.executable, "-c", sample]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(
        "dot: 480 frames of 64x64 at 10 frames/s, 11 episodes to train on and 1 held out"
    )
    for episode in Dataset.open(tmp_path / "dot").train:
        x_T = episode.frames_THWC[:, 31, :, 0].argmax(axis=1).astype(int)
        assert episode.actions_T is not None
        moves = (x_T[1:] - x_T[:-1] + 30) % 60 - 30
        assert (moves == 2 * episode.actions_T[:-1] - 1).all()
