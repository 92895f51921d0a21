"""A rate that a roll-back lowered is the rate that was asked for from then on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terrarium.doctor.readers.run_folder import read_run, read_training


@pytest.mark.parametrize(
    ("adjustments", "expected"),
    [
        ([{"from_step": 0, "rate_factor": 0.5}, {"from_step": 0, "rate_factor": 0.5}], 0.25e-3),
        ([{"from_step": 40, "rate_factor": 0.5}], 1e-3),
        ([{"from_step": 0, "rate_factor": "x"}, 7, {"from_step": 0, "rate_factor": -1}], 1e-3),
        ({"not": "a list"}, 1e-3),
    ],
)
def test_the_planned_rate_is_what_a_cure_made_of_it(
    adjustments: object, expected: float, tmp_path: Path
) -> None:
    stage = tmp_path / "dynamics"
    stage.mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "id": "abcdefgh", "config": {}}))
    (stage / "config.json").write_text(json.dumps({"steps": 100, "config": {"learning_rate": 1e-3}}))
    rows = [
        {"step": step, "runtime": step * 0.1, "loss": 1.0, "learning_rate": expected} for step in range(60)
    ]
    (stage / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (stage / "adjustments.json").write_text(json.dumps({"format": 1, "adjustments": adjustments}))
    for evidence in (read_run(tmp_path), read_training(tmp_path, "dynamics")):
        assert evidence.stages["dynamics"].plan.learning_rate == pytest.approx(expected)


def test_a_run_that_was_healed_from_its_beginning_is_not_told_so(
    tmp_path: Path,
) -> None:
    from terrarium.doctor.examine import examine

    stage = tmp_path / "dynamics"
    stage.mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "id": "abcdefgh", "config": {}}))
    (stage / "config.json").write_text(json.dumps({"steps": 200, "config": {"learning_rate": 3e-3}}))
    rows = [
        {"step": step, "runtime": step * 0.1, "loss": 1 + 3 * 0.97**step, "learning_rate": 1e-3}
        for step in range(200)
    ]
    (stage / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    codes = [finding.code for finding in examine(read_training(tmp_path, "dynamics")).findings]
    assert "learning-rate-not-applied" in codes, "where nobody changed it"
    (stage / "adjustments.json").write_text(
        json.dumps({"format": 1, "adjustments": [{"from_step": 0, "rate_factor": 1 / 3}]})
    )
    codes = [finding.code for finding in examine(read_training(tmp_path, "dynamics")).findings]
    assert "learning-rate-not-applied" not in codes
