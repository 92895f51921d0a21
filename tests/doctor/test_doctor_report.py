"""The report as a whole: three formats that say the same, and a page that needs nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doctor_reading import Report
from doctor_samples import (
    RUN,
    SCORES,
    history_rows,
    make_run,
    make_small_run,
    save_checkpoint,
    write_json,
    write_rows,
)

from terrarium.doctor.report import write_report


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """A whole run, free to be changed."""
    return make_run(tmp_path / "2026_02_06_00_44_31")


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """A run of one row per stage, free to be changed."""
    return make_small_run(tmp_path / "small")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a whole run, to be read only."""
    return Report(make_run(tmp_path_factory.mktemp("whole") / "2026_02_06_00_44_31"))


def test_the_three_formats_agree(whole: Report) -> None:
    report = whole
    numbers = report.json["stages"]["dynamics"]["numbers"]
    assert numbers["rows"] == 2400
    assert report.both_say("2,400 of 3,000")
    assert numbers["discarded_reasons"] == {"resumed from step 2000": 12}
    assert report.both_say("resumed from step 2000")
    assert numbers["chance_levels"] == {"chance": 6.931}
    assert report.both_say("6.931")
    last_window = numbers["loss_windows"][-1]
    assert report.both_say(f"{last_window['first_step']:,} – {last_window['last_step']:,}")
    assert report.both_say(f"{last_window['mean']:.4g}")
    assert report.both_say(report.json["summary"])
    assert report.json["scores"] == SCORES
    for words in (
        "31.24 dB",
        "24.91 dB",
        "18.02 dB",
        "52.1 %",
        "0.93 dB (0.61 to 1.24)",
        "26.4 frames/s",
        "move left",
    ):
        assert report.both_say(words), words
    assert report.both_say("c0ffee0123456789")
    assert report.both_say("dynamics.steps")


def test_a_healthy_run_is_called_so(whole: Report) -> None:
    report = whole
    assert report.json["format"] == 2
    assert report.json["verdict"] == "normal"
    assert {stage["verdict"] for stage in report.json["stages"].values()} == {"normal"}
    assert report.json["findings"] == []
    assert report.both_say("No detector found anything.")


def spoil_newest(run: Path) -> None:
    """Flip a bit in a new checkpoint."""
    newest = save_checkpoint(run / "dynamics", 2400) / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)


def test_checkpoints_are_judged_by_content(small_run: Path) -> None:
    spoil_newest(small_run)
    report = Report(small_run)
    found = report.json["checkpoints"]["dynamics"]
    assert (found["total"], found["usable"], found["resume_from"]) == (2, 1, 1)
    assert [(item["step"], item["whole"]) for item in found["items"]] == [(1, True), (2400, False)]
    assert found["items"][1]["reason"]
    assert report.both_say("1 of 2")
    assert "L-1" not in report.markdown
    assert report.both_say(found["items"][1]["reason"])


def test_the_one_to_go_on_from_is_from_before_the_trouble(small_run: Path) -> None:
    for step in (1000, 2300):
        save_checkpoint(small_run / "dynamics", step)
    rows = history_rows("dynamics", 2400)
    for row in rows[1500:]:
        row["loss"] += 0.004 * (row["step"] - 1500)
    write_rows(small_run / "dynamics" / "history.jsonl", rows)
    report = Report(small_run)
    assert report.json["findings"][0]["code"] == "loss-diverging"
    assert report.json["checkpoints"]["dynamics"]["resume_from"] == 1000
    assert report.both_say("Go on from step 1,000")


def test_what_is_wrong_is_markdown_and_not_its_source(small_run: Path) -> None:
    spoil_newest(small_run)
    lines = Report(small_run).markdown.splitlines()
    (heading,) = (place for place, line in enumerate(lines) if line.startswith("### 1. "))
    below = lines[heading : lines.index("### What to do first")]
    assert [line for line in below if re.fullmatch(r"\*\w+ · .* % sure\*", line)]
    assert [line for line in below if line.startswith("- **Most likely cause**: ")]
    assert "|---|---:|---:|---|" in below
    assert not [line for line in lines if line.startswith("\\")]


def test_a_stage_that_has_not_begun_is_not_called_normal(small_run: Path) -> None:
    shutil.rmtree(small_run / "dynamics")
    report = Report(small_run)
    assert report.json["stages"]["dynamics"]["numbers"]["rows"] == 0
    assert "| Verdict | normal | normal | not begun |" in report.markdown
    assert "- **Dynamics**: not begun\n" in report.markdown
    assert report.page.text.count("not begun") == 2


def test_a_checkpoint_that_passes_no_level_shows_none(small_run: Path) -> None:
    (save_checkpoint(small_run / "dynamics", 2400) / "model.safetensors").unlink()
    report = Report(small_run)
    assert report.json["checkpoints"]["dynamics"]["items"][1]["level"] == -1
    assert re.search(r"\| 2,400 \| .* \| – \|", report.markdown)


def test_a_checkpoint_of_another_run_is_not_one_to_resume_from(small_run: Path) -> None:
    write_json(small_run / "run.json", RUN | {"id": "another1"})
    found = Report(small_run).json["checkpoints"]["dynamics"]
    assert (found["total"], found["usable"], found["resume_from"]) == (1, 0, None)
    assert all(item["flaw"] == "foreign" for item in found["items"])


def test_beyond_the_budget_checkpoints_are_judged_by_size_and_it_is_said(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrarium.doctor.readers.checkpoints.MOST_DEEP_BYTES", 10)
    save_checkpoint(small_run / "dynamics", 2)
    report = Report(small_run)
    assert [item["judged_to"] for item in report.json["checkpoints"]["dynamics"]["items"]] == [0, 3]
    assert ("dynamics", "checkpoints") in report.missing
    assert report.both_say("judged by the sizes of their files only")


def test_pictures_early_against_late(whole: Report) -> None:
    report = whole
    pictures = [(p["stage"], p["step"], p["when"]) for p in report.json["pictures"]]
    assert ("dynamics", 0, "early") in pictures
    assert ("dynamics", 2400, "late") in pictures
    shown = [picture for picture in report.json["pictures"] if picture["when"]]
    assert (len(pictures), len(shown)) == (9, 6)
    assert report.page.tags.count("img") == 6
    for picture in shown:
        assert (whole.path / picture["path"]).is_file()
        assert f"]({picture['path']})" in report.markdown
    assert report.both_say("Prediction, latest, step 2,400. Rows from the top: truth, model")


def test_the_page_needs_nothing_else(whole: Report) -> None:
    report = whole
    assert not {"script", "link", "iframe", "object"} & set(report.page.tags)
    loaded = [value or "" for name, value in report.page.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in loaded)
    assert "@import" not in report.html
    assert not re.findall(r"url\((?!#)", report.html)
    assert "prefers-color-scheme: dark" in report.html
    assert report.page.open == []
    assert report.page.tags.count("svg") >= 12


def test_links_to_pictures_lead_back_from_another_folder(small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "reports"
    report = Report(small_run, out)
    assert not (small_run / "report.html").exists()
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report.markdown)
    assert len(links) == 3
    assert all((out / link).is_file() for link in links)


def test_a_link_to_the_run_is_followed(small_run: Path) -> None:
    latest = small_run.parent / "latest"
    latest.symlink_to(small_run.name)
    assert write_report(latest) == small_run / "report.html"
    assert json.loads((small_run / "report.json").read_text())["run"]["folder"] == small_run.name


def test_an_other_stage_is_shown_too(small_run: Path) -> None:
    (small_run / "distilled").mkdir()
    write_rows(
        small_run / "distilled" / "history.jsonl", [{"step": 0, "loss": 3.0}, {"step": 1, "loss": 2.5}]
    )
    report = Report(small_run)
    assert report.json["stages"]["distilled"]["numbers"]["rows"] == 2
    assert report.both_say("Distilled")


def test_writing_again_gives_the_same_page(whole: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 2e9)
    once, again = Report(whole.path), Report(whole.path)
    assert again.html == once.html
    assert again.json == once.json


def test_a_report_is_written_without_torch(run_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from terrarium.doctor.report import write_report\n"
        f"write_report(pathlib.Path({str(run_path)!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    source = Path(__file__).parents[2] / "src"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(source)})
