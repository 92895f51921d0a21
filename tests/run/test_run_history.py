from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_histories import COMMON, a_stage, discarded, fill, numbered, row_lists, step_of, steps
from run_samples import make_stage

from terrarium.errors import RunError
from terrarium.run.folder import StageFolder
from terrarium.run.history import History
from terrarium.run.rows import Row, read_history


@COMMON
@given(row_lists())
def test_what_is_appended_is_read_back(rows: list[Row]) -> None:
    with a_stage() as stage:
        fill(stage, rows)
        found = read_history(stage.history_path)
        assert found.skipped == 0
        assert [row["step"] for row in found.rows] == [row["step"] for row in rows]
        for written, row in zip(rows, found.rows, strict=True):
            for key, value in written.items():
                if isinstance(value, float) and not math.isfinite(value):
                    assert row[key] is None
                    assert repr(float(str(row[f"{key}_text"]))) == repr(value)
                else:
                    assert row[key] == value


@COMMON
@given(row_lists(), st.data())
def test_a_history_cut_at_any_byte_goes_on(rows: list[Row], data: st.DataObject) -> None:
    with a_stage() as stage:
        fill(stage, rows)
        content = stage.history_path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        stage.history_path.write_bytes(content[:cut])
        lines = content[:cut].split(b"\n")
        torn = lines[-1]
        complete = len(lines) - 1 + (torn + b"\n" in content.splitlines(keepends=True) and torn != b"")

        with History(stage) as history:
            last = rows[complete - 1]["step"] if complete else -1
            assert history.last_step == last
            history.append({"step": 1000})
        assert steps(stage) == [row["step"] for row in rows[:complete]] + [1000]
        assert read_history(stage.history_path).skipped == 0
        kept_torn = [entry["torn"] for entry in discarded(stage)]
        assert kept_torn == ([torn.decode()] if len(lines) - 1 == complete and torn else [])


@COMMON
@given(st.binary(max_size=300) | st.lists(st.binary(max_size=40), max_size=6).map(b"\n".join))
def test_garbage_never_crashes_a_reader_or_a_writer(content: bytes) -> None:
    with a_stage() as stage:
        stage.history_path.write_bytes(content)
        found = read_history(stage.history_path)
        assert found.rows == []
        fill(stage, numbered(3))
        assert steps(stage) == [3]
        assert len(discarded(stage)) == found.skipped


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1, "loss": NaN}',
        b'{"step": 1, "loss": 1e999}',
        b'{"step": 1, "loss": [1]}',
        b'{"step": true}',
        b'{"step": 1.0}',
        b'{"step": -1}',
        b'{"step": ' + b"9" * 400 + b"}",
        b'{"step": 1, "n": ' + b"9" * 5000 + b"}",
        b'{"loss": 1}',
        b"[" * 100_000,
        b'{"step": 1, "note": "' + b"a" * 2**20 + b'"}',
        b"",
    ],
)
def test_lines_that_are_no_rows(tmp_path: Path, line: bytes) -> None:
    stage = make_stage(tmp_path)
    stage.history_path.write_bytes(b'{"step":0}\n' + line + b'\n{"step":2}\n')
    assert read_history(stage.history_path) == ([{"step": 0}, {"step": 2}], 1)
    fill(stage, [])
    assert steps(stage) == [0, 2]
    assert len(discarded(stage)) == 1


def test_no_history_has_no_rows(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.jsonl") == ([], 0)
    with pytest.raises(RunError, match="can't be read"):
        read_history(tmp_path)


def test_steps_only_grow(tmp_path: Path) -> None:
    with History(make_stage(tmp_path)) as history:
        assert (history.last_step, history.last_runtime) == (-1, 0.0)
        history.append({"step": 0, "runtime": 0.5})
        history.append({"step": 5, "runtime": 2})
        for step in (5, 4, 0, -1, 2**53):
            with pytest.raises(RunError, match="can't follow step 5"):
                history.append({"step": step})
        assert (history.last_step, history.last_runtime) == (5, 2.0)
    with History(make_stage_again(tmp_path)) as history:
        assert (history.last_step, history.last_runtime) == (5, 2.0)


def make_stage_again(path: Path) -> StageFolder:
    return StageFolder(path / "dynamics", "dynamics", "abcdefgh")


def test_rows_that_can_not_be_written(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    with History(stage) as history:
        for row in ({"loss": 1.0}, {"step": 1, "reason": "x"}, {"step": 1, "n": 2**63}, {"step": "1"}):
            with pytest.raises(RunError):
                history.append(row)  # type: ignore[arg-type]
        with pytest.raises(RunError, match="'tensor'"):
            history.append({"step": 1, "tensor": [1.0]})  # type: ignore[dict-item]
        with pytest.raises(RunError, match="bytes"):
            history.append({"step": 1, "note": "a" * 2**20})
    assert stage.history_path.read_bytes() == b""


def test_numpy_scalars_are_told_as_numbers(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    fill(stage, [{"step": np.int64(3), "loss": np.float32(0.5), "grad_norm": np.float64("inf")}])  # type: ignore[dict-item]
    assert read_history(stage.history_path).rows == [
        {"step": 3, "loss": 0.5, "grad_norm": None, "grad_norm_text": "inf"}
    ]


def test_a_later_row_supersedes_steps_logged_twice(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    lines = [{"step": step, "loss": loss} for step, loss in [(0, 1), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]]
    stage.history_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fill(stage, [])
    assert [row["loss"] for row in read_history(stage.history_path).rows] == [1, 2, 2, 2]
    assert sorted(step_of(row) for row in discarded(stage)) == [1, 2]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(tmp_path)
    real_write = os.write
    with History(stage) as history:
        history.append({"step": 0})
        with monkeypatch.context() as context:
            context.setattr(os, "write", lambda descriptor, line: real_write(descriptor, line[:7]))
            with pytest.raises(RunError, match="7 of"):
                history.append({"step": 1})
        assert (history.last_step, steps(stage)) == (0, [0])
        history.append({"step": 1})
    assert read_history(stage.history_path) == ([{"step": 0}, {"step": 1}], 0)


def test_a_closed_history_takes_no_row(tmp_path: Path) -> None:
    history = History(make_stage(tmp_path))
    history.close()
    history.close()
    with pytest.raises(RunError, match="can't be added"):
        history.append({"step": 0})


def test_rows_reach_the_disk_before_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with History(make_stage(tmp_path)) as history:
        history.append({"step": 0})
        history.sync()

        def broken(_: int) -> NoReturn:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as context:
            context.setattr(os, "fsync", broken)
            with pytest.raises(RunError, match="Input/output error"):
                history.sync()
