"""The columnar reader: damaged, mixed and hostile histories."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrarium.doctor.readers import jsonl as history_module
from terrarium.doctor.readers.jsonl import count_reasons, read_history


def test_columns_line_up_when_rows_have_different_keys(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    rows = [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.5, "entropy": 0.3}, {"step": 2, "note": "hello"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    history = read_history(path)
    assert history.rows == 3
    assert history.steps.tolist() == [0, 1, 2]
    assert np.array_equal(history.columns["entropy"], [np.nan, 0.3, np.nan], equal_nan=True)
    assert "note" not in history.columns
    assert history.not_finite == {}  # a row without a loss is no bad row


def test_columns_that_begin_late_line_up_over_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "ROWS_AT_ONCE", 3)
    path = tmp_path / "history.jsonl"
    rows = [
        {"step": step, "loss": 1.0 + step} | ({"late": step} if step in (5, 9) else {}) for step in range(11)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    late = read_history(path).columns["late"]
    assert late.size == 11
    assert np.flatnonzero(np.isfinite(late)).tolist() == [5, 9]


def test_non_finite_losses_are_counted_in_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"step": 0, "loss": 1.0}\n{"step": 1, "loss": null, "loss_text": "nan"}\n{"step": 2, "loss": NaN}\n'
        '{"step": 3, "loss": Infinity}\n{"step": 4, "loss": "inf"}\n{"step": 5}\n{"step": 6, "loss": 1e400}\n'
    )
    history = read_history(path)
    assert history.not_finite["loss"].tolist() == [False, True, True, True, True, False, True]
    assert np.isfinite(history.columns["loss"]).sum() == 1


def test_a_torn_line_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(
        b'{"step": 0, "loss": 1.0}\n[1, 2]\n\n\xff\xfe\n{"step": 1, "loss": 0.5}\n{"step": 2, "lo'
    )
    history = read_history(path)
    assert (history.rows, history.damaged) == (2, 3)


def test_steps_that_can_not_be_give_way_to_the_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"step": -3, "loss": 1}\n{"loss": 1}\n{"step": 1e300, "loss": 1}\n{"step": 9, "loss": 1}\n'
    )
    assert read_history(path).steps.tolist() == [0, 1, 2, 9]


def test_an_endless_line_is_damage_not_memory(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 0, "loss": 1.0}\n' + '{"step": 1, "x": "' + "a" * 300_000 + '"}\n')
    history = read_history(path)
    assert history.rows == 1
    assert history.damaged > 0


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="regular file"):
        read_history(path)


def test_reasons_of_discarded_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "history.discarded.jsonl"
    path.write_text(
        '{"step": 1, "reason": "a"}\n' * 3 + '{"step": 2, "reason": "b"}\n{"step": 3}\nnot json\n'
    )
    assert count_reasons(path) == {"a": 3, "b": 1, "no reason given": 1}


def test_many_reasons_are_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "history.discarded.jsonl"
    path.write_text("".join(f'{{"reason": "r{index}"}}\n' for index in range(50)))
    reasons = count_reasons(path, most_reasons=5)
    assert len(reasons) == 6
    assert reasons["other reasons"] == 45


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
)
ROWS = st.dictionaries(st.sampled_from(["step", "loss", "runtime", "x", ""]), VALUES, min_size=1)


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(st.one_of(ROWS.map(lambda row: json.dumps(row).encode()), st.binary(max_size=40))))
def test_any_file_is_read_to_its_end(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("wild") / "history.jsonl"
    path.write_bytes(b"\n".join(lines))
    history = read_history(path)
    assert all(column.shape == (history.rows,) for column in history.columns.values())
    assert all(rows.shape == (history.rows,) for rows in history.not_finite.values())
    assert all(np.isfinite(history.steps))
