"""The page on detectors: its sample runs, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-a-detector.md"


def test_the_sample_detector_runs(tmp_path: Path) -> None:
    (sample,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    command = [sys.executable, "-c", sample]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    printed = run.stdout.splitlines()
    assert printed == ["quality-lost watch 600", "[]"]
    assert all(f"`{line}`" in PAGE.read_text() for line in printed)
