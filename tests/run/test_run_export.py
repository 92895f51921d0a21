from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from run_samples import make_run

from terrarium.errors import RunError
from terrarium.run.export import export_histories
from terrarium.run.folder import RunFolder
from terrarium.run.history import History
from terrarium.run.rows import Row


def fill(run: RunFolder, name: str, *rows: Row) -> None:
    with History(run.stage(name)) as history:
        for row in rows:
            history.append(row)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_those_of_the_field(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    common: Row = {"step": 0, "runtime": 0.5, "loss": 7.0, "learning_rate": 1e-3, "grad_norm": 2.0}
    fill(run, "video_tokenizer", {**common, "codebook_usage": 0.25})
    fill(run, "latent_actions", {**common, "action_entropy": 1.5, "unique_actions": 4, "codebook_usage": 0.5})
    fill(run, "dynamics", {**common, "accuracy": 0.1})
    written = export_histories(run, tmp_path / "Logs")
    assert [path.name for path in written] == [
        f"{stage}_history_{run.id}_latest.{ending}"
        for stage in ("video_tokenizer", "latent_actions", "dynamics")
        for ending in ("json", "csv")
    ]
    start = ["_step", "_runtime", "train/loss", "learning_rate/group_0"]
    tokenizer, actions, dynamics = (list(json.loads(path.read_text())[0]) for path in written[::2])
    assert tokenizer == [*start, "train/grad_norm", "train/codebook_usage"]
    assert set(actions) == {
        *start,
        "train/grad_norm",
        "action_entropy",
        "unique_actions",
        "latent_actions/codebook_usage",
    }
    assert dynamics == [*start, "train/grad_norm", "train/accuracy"]
    assert list(read_csv(written[3])[0]) == [
        *start,
        "action_entropy",
        "unique_actions",
        "latent_actions/codebook_usage",
        "train/grad_norm",
    ]


def test_values_survive(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    fill(
        run,
        "dynamics",
        {"step": 0, "runtime": 0.25, "loss": 0.1 + 0.2},
        {"step": 3, "loss": float("nan"), "note": "a,b"},
        {"step": 4, "loss": None, "grad_norm": float("-inf")},
    )
    rows, table = export_histories(run, tmp_path / "Logs")
    assert json.loads(rows.read_text()) == [
        {"_step": 0, "_runtime": 0.25, "train/loss": 0.1 + 0.2},
        {"_step": 3, "train/loss": None, "train/loss_text": "nan", "train/note": "a,b"},
        {"_step": 4, "train/loss": None, "train/grad_norm": None, "train/grad_norm_text": "-inf"},
    ]
    cells = read_csv(table)
    assert list(cells[0]) == ["_step", "_runtime", "train/loss", "train/note", "train/grad_norm"]
    assert [row["train/loss"] for row in cells] == [repr(0.1 + 0.2), "nan", ""]
    assert [row["train/grad_norm"] for row in cells] == ["", "", "-inf"]
    assert cells[1]["train/note"] == "a,b"


def test_a_torn_line_costs_one_row(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    fill(run, "dynamics", {"step": 0}, {"step": 1})
    path = run.stage("dynamics").history_path
    path.write_bytes(path.read_bytes()[:-3])
    (rows, _) = export_histories(run, tmp_path / "Logs")
    assert json.loads(rows.read_text()) == [{"_step": 0}]


def test_nothing_to_export(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.stage("dynamics").create()
    with pytest.raises(RunError, match="nothing to export"):
        export_histories(run, tmp_path / "Logs")
    assert not (tmp_path / "Logs").exists()


def test_out_that_can_not_be_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    fill(run, "dynamics", {"step": 0})
    (tmp_path / "Logs").touch()
    with pytest.raises(RunError, match="can't be written"):
        export_histories(run, tmp_path / "Logs")
