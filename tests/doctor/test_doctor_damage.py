"""The report of a run folder in any state: parts missing, half written, damaged or hostile."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from doctor_reading import Report
from doctor_samples import (
    RUN,
    SCORES,
    make_run,
    make_small_run,
    save_checkpoint,
    write_json,
    write_picture,
    write_rows,
)

from terrarium.doctor.report import write_report
from terrarium.errors import RunError

HOSTILE = "<script>alert(1)</script>\"'&|`[x](javascript:alert(1))"


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """A whole run, free to be changed."""
    return make_run(tmp_path / "2026_02_06_00_44_31")


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """A run of one row per stage, free to be changed."""
    return make_small_run(tmp_path / "small")


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("run.json", (None, "run")),
        ("scores.json", (None, "scores")),
        ("latent_actions", ("latent_actions", "stage")),
        ("dynamics/history.jsonl", ("dynamics", "history")),
        ("dynamics/config.json", ("dynamics", "configuration")),
        ("dynamics/checkpoints", ("dynamics", "checkpoints")),
        ("dynamics/visualizations", ("dynamics", "pictures")),
    ],
)
def test_each_missing_part_is_listed_and_stops_nothing(
    small_run: Path, gone: str, missing: tuple[str | None, str]
) -> None:
    path = small_run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = Report(small_run)
    assert report.missing == {missing}
    reason = next(entry["reason"] for entry in report.json["missing"])
    assert report.both_say(reason)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1e999}', b"null"])
def test_half_written_json_stops_nothing(small_run: Path, content: bytes) -> None:
    for name in ("run.json", "scores.json", "dynamics/config.json"):
        (small_run / name).write_bytes(content)
    report = Report(small_run)
    assert report.json["stages"]["dynamics"]["numbers"]["rows"] == 1


def test_an_empty_folder_gets_a_page_that_says_so(tmp_path: Path) -> None:
    report = Report(tmp_path)
    assert report.both_say("There is no training step here yet.")
    assert report.both_say("This run has not been scored.")
    assert report.json["checkpoints"]["dynamics"] == {
        "total": 0,
        "usable": 0,
        "resume_from": None,
        "items": [],
    }


def test_an_empty_history_and_a_history_of_one_row(small_run: Path) -> None:
    (small_run / "dynamics" / "history.jsonl").write_text("")
    report = Report(small_run)
    assert report.missing == {("dynamics", "history")}
    assert report.json["stages"]["dynamics"]["numbers"]["rows"] == 0
    assert report.json["stages"]["latent_actions"]["numbers"]["loss"]["last"] == 1.25


def test_rows_that_are_not_finite_are_told(run_path: Path) -> None:
    path = run_path / "dynamics" / "history.jsonl"
    with path.open("a") as file:
        for step in range(2400, 2410):
            file.write(json.dumps({"step": step, "runtime": 300.0, "loss": None, "loss_text": "nan"}) + "\n")
        file.write('{"step": 2410, "lo')
    report = Report(run_path)
    numbers = report.json["stages"]["dynamics"]["numbers"]
    assert (numbers["not_finite_rows"], numbers["first_not_finite_step"]) == (10, 2400)
    assert report.both_say("10, from step 2,400")
    assert "var(--plot-bad)" in report.html
    assert report.both_say("could not be read: 1 (history.jsonl)")


def test_a_history_of_nothing_but_nan_has_no_loss(run_path: Path) -> None:
    rows = [{"step": step, "loss": None, "runtime": float(step)} for step in range(50)]
    write_rows(run_path / "dynamics" / "history.jsonl", rows)
    report = Report(run_path)
    assert ("dynamics", "loss") in report.missing
    assert report.json["stages"]["dynamics"]["numbers"]["loss"] is None


def hostile_run(path: Path) -> Path:
    """Every place where a name or a text from a file can come through."""
    make_run(path)
    write_json(
        path / "run.json",
        RUN
        | {
            "data": HOSTILE,
            "device": HOSTILE,
            "versions": {HOSTILE: HOSTILE},
            "config": {HOSTILE: {"a": HOSTILE}},
        },
    )
    write_json(path / "dynamics" / "config.json", {"steps": 3000, "chance_level": {HOSTILE: 5.0}})
    write_rows(
        path / "dynamics" / "history.jsonl",
        [{"step": step, "loss": 5.0 - step / 100, "runtime": step, HOSTILE: step} for step in range(100)],
    )
    write_rows(path / "dynamics" / "history.discarded.jsonl", [{"step": 1, "reason": HOSTILE}])
    name = HOSTILE.replace("/", "")
    write_picture(path / "dynamics" / "visualizations", name, 3, [HOSTILE, "model"])
    actions = SCORES["latent_actions"] | {
        "action_names": [HOSTILE] * 3,
        "accuracy": None,
        "accuracy_reason": HOSTILE,
    }
    write_json(path / "scores.json", SCORES | {"latent_actions": actions})
    stranger = path / HOSTILE.replace("/", "")
    stranger.mkdir()
    write_rows(stranger / "history.jsonl", [{"step": step, "loss": 1.0} for step in range(9)])
    broken = save_checkpoint(path / "dynamics", 99) / "manifest.json"
    broken.write_text(json.dumps({"format": 1, "kind": HOSTILE, "step": HOSTILE}))
    return path


def test_hostile_names_are_only_ever_words(tmp_path: Path) -> None:
    report = Report(hostile_run(tmp_path / HOSTILE.replace("/", "")))
    assert "alert(1)" in report.page.text
    assert "script" not in report.page.tags
    assert report.page.open == []
    assert "<script" not in report.html.lower()
    assert not [name for name, _ in report.page.attributes if name.startswith("on")]
    assert "<script" not in report.markdown.lower()
    assert "](javascript" not in report.markdown.replace("\\]", "")
    rows = [line for line in report.markdown.splitlines() if line.startswith("| Steps taken")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [6]  # no name adds a column to a table


def test_the_report_survives_text_that_is_not_unicode(small_run: Path) -> None:
    (small_run / "run.json").write_text(json.dumps(RUN)[:-1] + ', "device": "\\ud800"}')
    write_picture(small_run / "dynamics" / "visualizations", "a\udcff", 1, ["truth", "model"])
    Report(small_run)


def test_scores_that_were_not_measured_are_listed(small_run: Path) -> None:
    actions = {"codes_used": 3, "accuracy": None, "reason": "the footage has no true actions"}
    scores = {
        "video_tokenizer": SCORES["video_tokenizer"],
        "latent_actions": actions,
        "dynamics": SCORES["dynamics"],
    }
    write_json(small_run / "scores.json", scores)
    report = Report(small_run)
    assert {stage for stage, _ in report.missing} == {"latent_actions", "play"}
    assert ("latent_actions", "score") in report.missing
    assert report.both_say("Not measured: the footage has no true actions.")


def test_an_unreadable_picture_is_listed(small_run: Path) -> None:
    (small_run / "dynamics" / "visualizations" / "prediction_step_1.png").write_bytes(b"\x89PNG\r\n")
    report = Report(small_run)
    assert report.missing == {("dynamics", "pictures")}
    assert report.page.tags.count("img") == 2


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        write_report(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="can't be written"):
        write_report(small_run, tmp_path / "locked")


def test_out_that_is_a_file(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match="can't be written"):
        write_report(small_run, tmp_path / "taken")
