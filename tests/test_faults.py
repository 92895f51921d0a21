"""A quick slice of the fault catalogue; all of it: `python benchmarks/faults`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUITE = Path(__file__).parents[1] / "benchmarks" / "faults"


def test_quick_faults_are_seen_and_nothing_is_lost() -> None:
    command = [sys.executable, str(SUITE), "--quick", "--seeds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [line.split("|") for line in ended.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 23  # two of them mount a disk, which not every system allows
    assert all(
        row[3].strip() in ("1/1", "0 false of 1") and row[4].strip() in ("1/1", "-") for row in rows
    ), ended.stdout
