"""Histories as text: CSV, JSON and JSON lines as the common trainers write them, whole and torn."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrarium.doctor.readers.histories import HistoryFile, read

LOSS = [4.0, 3.5, 3.0, 2.5, 2.0]
STEPS = [0, 10, 20, 30, 40]


def file_of(path: Path, content: str | bytes) -> HistoryFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)[""]


def check(file: HistoryFile, steps: list[int] | None = None) -> None:
    assert file.history is not None, file.reason
    found, loss = file.history.series("loss")
    assert found.tolist() == (STEPS if steps is None else steps)
    assert loss.tolist() == LOSS[: len(loss)] == LOSS


def lines(*columns: list[Any], head: str, by: str = ",", end: str = "\n") -> str:
    rows = zip(*columns, strict=True)
    return head + end + "".join(by.join(map(str, row)) + end for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        lines(STEPS, LOSS, head="step,loss"),
        lines(STEPS, LOSS, head='"step","train/loss"'),
        lines(STEPS, LOSS, head="Step;Train Loss", by=";"),
        lines(STEPS, [str(x).replace(".", ",") for x in LOSS], head="step;loss", by=";"),
        lines(STEPS, LOSS, head="global_step\ttrain_loss", by="\t"),
        lines(STEPS, LOSS, head="iter loss", by=" "),
        lines(STEPS, LOSS, head="\ufeffstep,loss", end="\r\n"),
        lines(STEPS, LOSS, head="# made by a script\nstep,loss"),
        lines(STEPS, LOSS, head="step,loss").replace("20,", "step,loss\n20,"),  # restarted: the header again
        lines(STEPS, LOSS, head='"Step","run 7 - train/loss"'),  # W&B's download of one chart
        lines([1.7e9] * 5, STEPS, LOSS, head="Wall time,Step,Value"),  # TensorBoard's
        lines(STEPS, LOSS, head="step,loss").encode("utf-16"),
        gzip.compress(lines(STEPS, LOSS, head="step,loss").encode()),
    ],
)
def test_csv_however_it_is_written(content: str | bytes, tmp_path: Path) -> None:
    file = file_of(tmp_path / "metrics.csv", content)
    check(file)
    assert (file.format, file.damaged) == ("csv", 0)


@pytest.mark.parametrize(
    "value",
    [
        [{"step": step, "loss": loss} for step, loss in zip(STEPS, LOSS, strict=True)],
        {
            "history": [
                {"_step": step, "train": {"loss": loss}} for step, loss in zip(STEPS, LOSS, strict=True)
            ]
        },
        {
            "max_steps": 500,
            "log_history": [{"step": step, "loss": loss} for step, loss in zip(STEPS, LOSS, strict=True)],
        },
        {"step": STEPS, "loss": LOSS},
        {"step": dict(enumerate(STEPS)), "loss": dict(enumerate(LOSS))},  # of pandas
        [[1.7e9 + step, step, loss] for step, loss in zip(STEPS, LOSS, strict=True)],  # of TensorBoard
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_however_it_is_written(value: Any, indent: int | None, tmp_path: Path) -> None:
    file = file_of(tmp_path / "metrics.json", json.dumps(value, indent=indent))
    check(file)
    assert (file.format, file.damaged) == ("json", 0)


def test_settings_beside_the_rows_are_kept(tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}]
    file = file_of(tmp_path / "trainer_state.json", json.dumps({"max_steps": 500, "log_history": rows}))
    assert file.config == {"max_steps": 500}


@pytest.mark.parametrize(
    ("text", "finite"),
    [("nan", False), ("NaN", False), ("inf", False), ("-Infinity", False), ("1e999", False), ("", True)],
)
def test_what_is_not_finite_is_no_gap_and_a_gap_is_not(text: str, finite: bool, tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.csv", f"step,loss,lr\n0,1.0,1\n1,{text},1\n2,0.5,1\n")
    assert file.history is not None
    assert ("loss" not in file.history.not_finite) == finite


def test_rows_of_nan_at_the_end_are_not_dropped(tmp_path: Path) -> None:
    rows = [f"{step},{'nan' if step >= 60 else 1.0}" for step in range(100)]
    history = file_of(tmp_path / "a.csv", "step,loss\n" + "\n".join(rows)).history
    assert history is not None
    assert np.flatnonzero(history.not_finite["loss"]).tolist() == list(range(60, 100))


def test_a_frame_s_nan_stands_for_nothing_logged(tmp_path: Path) -> None:
    """pandas fills sparse columns with NaN: a validation loss every tenth row is no disaster."""
    rows = [f"{step},1.0,{0.5 if step % 10 == 0 else 'NaN'}" for step in range(100)]
    history = file_of(tmp_path / "a.csv", "step,loss,val_loss\n" + "\n".join(rows)).history
    assert history is not None
    assert "validation_loss" not in history.not_finite
    assert history.series("validation_loss")[0].size == 10


@pytest.mark.parametrize(
    ("suffix", "shape", "least"),
    [
        ("csv", ("step,loss\n", "\n", "\n"), 99),
        ("jsonl", ("", "\n", "\n"), 99),
        ("json", ("[", ", ", "]"), 97),  # rows that touch the damage can't be told from it
    ],
)
def test_damage_in_the_middle_loses_what_is_damaged(
    suffix: str, shape: tuple[str, str, str], least: int, tmp_path: Path
) -> None:
    rows = [json.dumps({"step": step, "loss": 1.0 + step}) for step in range(100)]
    if suffix == "csv":
        rows = [f"{step},{1.0 + step}" for step in range(100)]
    rows[50] = '\x00\x01,,"{{'
    start, between, end = shape
    file = file_of(tmp_path / f"a.{suffix}", start + between.join(rows) + end)
    assert file.history is not None
    assert least <= file.history.rows <= 99
    assert file.damaged == 1
    assert 50 not in file.history.steps


def test_metrics_logged_apart_are_joined_by_their_step(tmp_path: Path) -> None:
    """Lightning and W&B log what they measure piece by piece."""
    text = "step,train_loss,val_loss,lr-AdamW\n"
    text += "".join(f"{s},{1 + s},,\n{s},,,0.1\n" + (f"{s},,{2 + s},\n" if s % 2 else "") for s in range(6))
    history = file_of(tmp_path / "metrics.csv", text).history
    assert history is not None
    assert history.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert history.series("validation_loss")[0].tolist() == [1, 3, 5]
    assert history.series("learning_rate")[1].tolist() == [0.1] * 6


def test_dates_are_a_clock(tmp_path: Path) -> None:
    rows = "".join(f"2026-02-06T00:44:{second:02d}+00:00,{second},1.0\n" for second in range(0, 60, 10))
    file = file_of(tmp_path / "a.csv", f"timestamp,step,loss\n{rows}")
    assert file.history is not None
    assert file.runtime_from == "timestamp"
    assert file.history.series("runtime")[1].tolist() == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("hello world\n", "no-history"),
        ("name,age\nbob,12\n", "no-history"),
        ('{"a": 1}', "no-history"),
        ("[]", "no-history"),
        (b"\x00" * 100, "no-history"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, "no-history"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "json", "txt"])
def test_what_is_no_history_is_told_from_one(
    content: str | bytes, reason: str, suffix: str, tmp_path: Path
) -> None:
    assert file_of(tmp_path / f"a.{suffix}", content).reason == reason


def test_what_can_not_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "b.csv")
    (tmp_path / "folder").mkdir()
    assert read(tmp_path / "nowhere.csv")[""].reason == "absent"
    assert read(tmp_path / "a.csv")[""].reason == "no-file"
    assert read(tmp_path / "folder")[""].history is None
