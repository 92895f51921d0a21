"""Random histories for Hypothesis, and short ways to write and read one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from run_samples import make_stage

from terrarium.run.folder import StageFolder
from terrarium.run.history import History
from terrarium.run.rows import Row, read_history

COMMON = settings(derandomize=True, max_examples=40, deadline=None)
names = st.sampled_from(["loss", "grad_norm", "accuracy", "x\ny", "名", "\ud800"])
scalars = st.none() | st.floats() | st.integers(-(2**62), 2**62) | st.text(max_size=8)
extras = st.dictionaries(names, scalars, max_size=4)


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    steps = sorted(draw(st.sets(st.integers(0, 200), max_size=12)))
    return [{"step": step, "runtime": step / 4, **draw(extras)} for step in steps]


@contextmanager
def a_stage() -> Iterator[StageFolder]:
    """A fresh stage for every example of Hypothesis (a fixture would be shared); no waiting for the disk."""
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        yield make_stage(Path(folder) / "run")


def fill(stage: StageFolder, rows: list[Row]) -> None:
    with History(stage) as history:
        for row in rows:
            history.append(row)


def discarded(stage: StageFolder) -> list[dict[str, object]]:
    if not stage.discarded_path.exists():
        return []
    return [json.loads(line) for line in stage.discarded_path.read_text().splitlines()]


def steps(stage: StageFolder) -> list[object]:
    return [row["step"] for row in read_history(stage.history_path).rows]


def numbered(*wanted: int) -> list[Row]:
    return [{"step": step, "runtime": float(step), "loss": step / 8} for step in wanted]


def step_of(row: Row | dict[str, object]) -> int:
    step = row["step"]
    assert isinstance(step, int)
    return step
