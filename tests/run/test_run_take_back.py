from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_histories import COMMON, a_stage, discarded, fill, numbered, row_lists, step_of, steps
from run_samples import make_stage

from terrarium.errors import RunError
from terrarium.run.history import History
from terrarium.run.rows import Row, read_history


@COMMON
@given(row_lists(), st.lists(st.integers(-1, 200), max_size=4))
def test_take_back_loses_and_doubles_nothing(rows: list[Row], cuts: list[int]) -> None:
    with a_stage() as stage:
        fill(stage, rows)
        everything = read_history(stage.history_path).rows
        with History(stage) as history:
            for cut in cuts:
                expected = sum(step > cut for step in map(step_of, read_history(stage.history_path).rows))
                assert history.take_back(cut, f"back to {cut}") == expected
                assert history.last_step <= cut
        gone = discarded(stage)
        assert all({"reason", "discarded_at"} <= set(row) for row in gone)
        bare = [{k: v for k, v in row.items() if k not in ("reason", "discarded_at")} for row in gone]
        together = read_history(stage.history_path).rows + bare
        assert sorted(together, key=step_of) == everything


def test_a_take_back_that_fails_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(tmp_path)
    fill(stage, numbered(0, 1, 2, 3))

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    with History(stage) as history:
        history.take_back(2, "first")
        with monkeypatch.context() as context:
            context.setattr(Path, "replace", full)
            with pytest.raises(RunError, match="No space left"):
                history.take_back(0, "second")
        with monkeypatch.context() as context:
            context.setattr("terrarium.run.disk.write_atomically", full)
            with pytest.raises(RunError, match="No space left"):
                history.take_back(0, "second")
        assert steps(stage) == [0, 1, 2]
        history.append({"step": 9})
        assert history.take_back(0, "second") == 3
    assert [(step_of(row), row["reason"]) for row in discarded(stage)] == [
        (3, "first"),
        (1, "second"),
        (2, "second"),
        (9, "second"),
    ]
    assert not list(stage.path.glob(".*"))


TAKE_BACK = """
import sys
from pathlib import Path
from terrarium.run.folder import StageFolder
from terrarium.run.history import History
History(StageFolder(Path(sys.argv[1]), "dynamics", "abcdefgh")).take_back(1, "killed")
"""


@pytest.mark.parametrize("point", ["take_back:journal", "take_back:discarded", "take_back:history"])
def test_a_kill_inside_take_back_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    stage = make_stage(tmp_path)
    fill(stage, numbered(0, 1, 2, 3))
    killed = subprocess.run(
        [sys.executable, "-c", TAKE_BACK, str(stage.path)],
        env={**os.environ, "TERRARIUM_FAILPOINT": point, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with History(stage) as history:
        moved = history.take_back(1, "again")
        assert moved == (0 if point == "take_back:history" else 2)
        assert history.last_step == 1
    assert steps(stage) == [0, 1]
    assert [step_of(row) for row in discarded(stage)] == [2, 3]
    assert not list(stage.path.glob(".*"))


def test_a_damaged_journal_stops_nobody(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    fill(stage, numbered(0, 1))
    (stage.path / ".history.take_back.json").write_bytes(b"\0" * 40)
    fill(stage, numbered(2))
    assert steps(stage) == [0, 1, 2]


def test_the_same_rows_taken_back_twice_are_kept_twice(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    for _ in range(2):
        fill(stage, numbered(0, 1) if not steps(stage) else numbered(1))
        with History(stage) as history:
            assert history.take_back(0, "again") == 1
    assert [step_of(row) for row in discarded(stage)] == [1, 1]
