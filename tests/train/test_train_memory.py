"""What training holds and may still take, as the system says it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from terrarium.train import memory
from terrarium.train.memory import memory_of

CPU = torch.device("cpu")


def test_what_is_kept_is_counted_and_is_no_longer_left() -> None:
    before = memory_of(CPU)
    kept = torch.ones(64 * 2**18)  # 64 MiB
    after = memory_of(CPU)
    assert float(after["process_memory"] or 0) - float(before["process_memory"] or 0) == pytest.approx(
        64, abs=8
    )
    assert kept.sum() > 0


LIMITED = """
import resource, torch
from terrarium.train.memory import memory_of, _pages
resource.setrlimit(resource.RLIMIT_AS, (_pages()[0] + 300 * 2**20, resource.RLIM_INFINITY))
print(memory_of(torch.device("cpu"))["memory_left"])
"""


def test_a_limit_of_the_process_counts() -> None:
    ended = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert 200 < float(ended.stdout) <= 300


def test_a_limit_of_the_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text(str(100 * 2**20))
    (tmp_path / "memory.max").write_text(str(150 * 2**20))
    assert memory_of(CPU)["memory_left"] == 50
    (tmp_path / "memory.max").write_text("max\n")
    assert float(memory_of(CPU)["memory_left"] or 0) > 50


def test_where_the_system_says_nothing_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STATM", Path("/nowhere"))
    assert memory_of(CPU) == {}
