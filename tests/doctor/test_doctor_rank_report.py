"""The report of a run that several processes trained: a table and a plot of them, in all three formats."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from doctor_reading import Report
from doctor_samples import make_small_run, write_rows

from patients import ranks
from terrarium.doctor import schema
from terrarium.doctor.language import LANGUAGES, Language
from terrarium.doctor.rank_figures import rank_figures
from terrarium.doctor.ranks import Stretch, Together
from terrarium.doctor.report import describe, diagnose
from terrarium.doctor.view_ranks import MOST_SHOWN, ranks_view

STEPS = 200


def rows(stretch: Stretch) -> list[dict[str, object]]:
    """The lines that processes would have left."""
    return [
        {
            "step": int(step),
            "ready_seconds": stretch.ready_NR[place].tolist(),
            "clips": [f"{clips:08x}" for clips in stretch.clips_NR[place].tolist()],
            "clock": stretch.clock_NR[place].tolist(),
        }
        for place, step in enumerate(stretch.steps_N)
    ]


def slow_second() -> Stretch:
    """Two ranks of which the second needs 0.3 s where the first needs 0.1 s, in steps of 0.5 s."""
    ready_NR = np.tile([0.1, 0.3], (STEPS, 1))
    clips_NR = np.arange(2 * STEPS).reshape(STEPS, 2)
    clips_NR[::20, 1] = clips_NR[::20, 0]
    clock_NR = ranks.BEGAN + 0.5 * np.arange(STEPS)[:, None] + np.array([0.0, 0.125])
    return Stretch(np.arange(STEPS, dtype=np.float64), ready_NR, clips_NR, clock_NR)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make_small_run(tmp_path / "run")
    history = [{"step": step, "runtime": 0.5 * step, "loss": 2 - step / 200} for step in range(STEPS)]
    write_rows(path / "dynamics" / "history.jsonl", history)
    write_rows(path / "dynamics" / "ranks.jsonl", rows(slow_second()))
    return path


def test_each_rank_has_a_row_in_all_formats(run: Path) -> None:
    report = Report(run)
    told = report.json["stages"]["dynamics"]["ranks"]
    assert (told["count"], told["steps"], told["changes"]) == (2, STEPS, 0)
    assert told["step_seconds"] == pytest.approx(0.5)
    assert told["same_clips_steps"] == STEPS / 20
    first, second = told["by_rank"]
    assert (first["ready_seconds"], second["ready_seconds"]) == (0.1, 0.3)
    assert (first["waiting_share"], second["waiting_share"]) == (pytest.approx(0.4), 0)
    assert first["steps_per_second_alone"] == pytest.approx(1 / 0.3)
    assert second["clock_ahead_seconds"] == pytest.approx(0.125, abs=1e-3)
    assert "| 0 | 0.1 | 40.0 % | 3.33 | 10 of 200 | 0.000 |" in report.markdown
    assert "| 1 | 0.3 | 0.0 % | 2 | 10 of 200 | 0.125 |" in report.markdown
    assert report.both_say("2 processes, 200 steps, 0.5 s a step.")
    assert report.both_say("Step/s alone")
    assert "Seconds until a process is ready" in report.page.text
    assert report.page.open == []
    assert [finding["code"] for finding in report.json["findings"]] == ["rank-slower"]


def test_a_stage_that_one_process_trained_has_none(run: Path) -> None:
    (run / "dynamics" / "ranks.jsonl").unlink()
    report = Report(run)
    assert {stage["ranks"] for stage in report.json["stages"].values()} == {None}
    assert "Processes that trained together" not in report.markdown + report.html


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_as_the_schema_says_even_where_nothing_is_known(run: Path, language: str) -> None:
    bare = [{"step": step, "ready_seconds": [None, None]} for step in range(3)]
    write_rows(run / "video_tokenizer" / "ranks.jsonl", bare)
    told = describe(diagnose([run]), Language.choose(language))
    schema.Report.model_validate_json(json.dumps(told, allow_nan=False))
    unknown = told["stages"]["video_tokenizer"]["ranks"]["by_rank"][0]
    assert {unknown[key] for key in unknown if key.endswith(("seconds", "share", "alone"))} == {None}


def test_of_many_those_are_shown_that_wait_least_and_most() -> None:
    count = 100
    over = np.tile(1.0 + np.arange(count) / count, (50, 1))
    stretch = ranks.together(np.random.default_rng(1), over)
    figures = rank_figures(Together("dynamics/ranks.jsonl", (slow_second(), stretch)))
    view = ranks_view(figures, Language.choose("en"))
    assert figures is not None
    assert view is not None
    assert len(figures["by_rank"]) == count
    assert [int(row[0]) for row in view.rows] == [*range(8), *range(92, 100)]
    assert len(view.rows) == MOST_SHOWN
    assert "16 of 100" in view.words
    assert "changed 1 time;" in view.words
    assert all(math.isfinite(rank["waiting_share"]) for rank in figures["by_rank"])
