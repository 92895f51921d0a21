"""What training decided stands in the report, with its numbers, in every language."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from doctor_reading import Report
from doctor_samples import make_small_run, write_rows

from terrarium.doctor import schema
from terrarium.doctor.language import LANGUAGES, Language
from terrarium.doctor.readers.decisions import MOST_DECISIONS, read_decisions
from terrarium.doctor.report import describe, diagnose
from terrarium.doctor.view_decisions import decision_documents, decisions_view
from terrarium.healing.decisions import Decision, What, write_down
from terrarium.run.folder import StageFolder

TRIED = {"learning rate": 0.5, "loss as it was": 0.177, "loss at rate x 0.333": 0.034, "steps tried": 72.0}
GO_ON = Decision(20, What.CONTINUE, "normal", numbers={"loss": 0.2})
RETUNE = Decision(
    140, What.RETUNE, "critical", "loss-diverging", 128, dict(TRIED), 120, 0.25,
    reason="the same steps <b>at 0.25</b> do better", cause="learning-rate-too-high",
)  # fmt: skip
ROLL_BACK = Decision(60, What.ROLL_BACK, "", "loss-not-finite", 60, resumed_from=60, skip_batches=1)
CUT = Decision(80, What.RETUNE, "", "out-of-memory", 80, resumed_from=80, accumulation_factor=2)
RESTART = Decision(200, What.RESTART, "critical", "codebook-collapsed", 9, {}, 0, 1 / 3, 200)
STOP = Decision(300, What.STOP, "critical", "loss-diverging", 250, reason="it was set back 3 times already")
FALLS_SHORT = Decision(400, What.CONTINUE, "watch", reason="actions hardly matter")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_small_run(tmp_path / "run")
    stage = StageFolder(path / "dynamics", "dynamics", "abcdefgh")
    for decision in (GO_ON, ROLL_BACK, CUT, RETUNE, RESTART, STOP, FALLS_SHORT, GO_ON):
        write_down(stage, decision)
    return path


def test_every_decision_but_to_go_on_is_told_in_all_formats(run: Path) -> None:
    report = Report(run)
    told = report.json["stages"]["dynamics"]["gates"]
    assert (told["asked"], told["damaged_lines"]) == (8, 0)
    assert [each["what"] for each in told["decisions"]] == [
        *("roll back", "retune", "retune", "restart stage", "stop", "continue")
    ]
    assert report.both_say("Trouble was treated 4 times while it trained")
    assert report.both_say("What training decided")
    assert report.both_say("It asked 8 times whether it may go on")
    assert report.both_say("since step 128. Proved by a trial: the learning rate is too high.")
    assert report.both_say("and skipped 1 batch: the loss is not finite, since step 60.")
    assert report.both_say("each batch in 2 times as many parts: it ran out of memory.")
    assert report.both_say("it was set back 3 times already")
    assert report.both_say("the world falls short of what its configuration asks.")
    assert report.both_say("loss, at 0.333 times the rate")
    assert "0.034" in report.markdown
    assert "0.034" in report.page.text
    assert report.page.open == []
    assert "<b>at 0.25" not in report.html + report.markdown


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_as_the_schema_says_and_no_sentence_lacks_a_value(run: Path, language: str) -> None:
    told = describe(diagnose([run]), Language.choose(language))
    schema.Report.model_validate_json(json.dumps(told, allow_nan=False))
    for decision in told["stages"]["dynamics"]["gates"]["decisions"]:
        assert not re.search(r"[{}]", decision["said"])
        assert len(decision["said"]) > 5, decision
        assert decision["said"] not in ("retune", "roll_back", "restart", "stop", "cut", "falls_short")


def test_in_chinese_names_of_numbers_are_chinese(run: Path) -> None:
    chinese = Language.choose("zh")
    view = decisions_view(
        decision_documents(read_decisions(run / "dynamics" / "gates.jsonl"), chinese), chinese
    )
    assert view is not None
    names = [name for row in view.rows for name, _ in row[3]]
    assert names == ["学习率", "loss（原来的过程）", "loss（学习率 × 0.333）", "试跑的步数"]
    assert "回到 step 120，学习率降为原来的 25.0% 后继续" in view.rows[2][1]


def test_a_run_that_only_went_on_has_no_table(tmp_path: Path) -> None:
    path = make_small_run(tmp_path / "run")
    write_down(StageFolder(path / "dynamics", "dynamics", "abcdefgh"), GO_ON)
    report = Report(path)
    assert report.json["stages"]["dynamics"]["gates"]["decisions"] == []
    assert report.json["stages"]["video_tokenizer"]["gates"] is None
    assert "What training decided" not in report.markdown + report.html


def test_a_log_that_anybody_wrote_stops_no_report(tmp_path: Path) -> None:
    path = make_small_run(tmp_path / "run")
    odd = {
        "what": ["?"],
        "step": -1,
        "code": 7,
        "onset": "x",
        "resumed_from": 1e300,
        "numbers": {"a": "b", "c": None},
    }
    write_rows(
        path / "dynamics" / "gates.jsonl", [odd, {"what": "\x1b[31m{nope}", "step": 3, "rate_factor": None}]
    )
    with (path / "dynamics" / "gates.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n{"what": "st')
    report = Report(path)
    told = report.json["stages"]["dynamics"]["gates"]
    schema.Report.model_validate_json(json.dumps(report.json))
    assert (told["asked"], told["damaged_lines"]) == (2, 2)
    assert {each["said"] for each in told["decisions"]} == {"Something that this version does not know."}
    assert "\x1b" not in report.html + report.markdown


def test_of_very_many_the_last_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "dynamics" / "gates.jsonl"
    path.parent.mkdir()
    write_rows(path, [{"what": "stop", "step": step} for step in range(MOST_DECISIONS + 50)])
    decisions = read_decisions(path)
    assert decisions is not None
    assert (decisions.asked, len(decisions.made)) == (MOST_DECISIONS + 50, MOST_DECISIONS)
    assert decisions.made[-1].step == MOST_DECISIONS + 49
    assert read_decisions(tmp_path / "nowhere") is None
