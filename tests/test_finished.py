"""A finished world: scored, and its codes named as far as scoring found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terrarium import finished
from terrarium.run.folder import RunFolder
from tiny_training import Told
from tiny_world import tiny_config


def test_scores_labels_and_report_go_with_the_run(copied: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    told, reports = Told(), list[Path]()
    monkeypatch.setattr(finished, "write_report", reports.append)
    scores = finished.score(copied, told)
    assert json.loads((copied.path / "scores.json").read_text()) == json.loads(json.dumps(scores))
    assert reports == [copied.path]
    assert told.lines
    labels = finished._labels(copied)
    assert len(labels) in (0, 4)
    (copied.path / "scores.json").unlink()
    assert finished._labels(copied) == []


@pytest.mark.parametrize("found", [[], ["actions hardly matter"]])
def test_the_play_gate_of_a_finished_run_is_written_down_once(
    found: list[str], copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "known_scores", lambda _run: {"format": 1})
    monkeypatch.setattr(finished, "shortfalls", lambda *_: found)
    log = copied.stage("dynamics").path / "gates.jsonl"
    before = len(log.read_bytes().splitlines())
    for _ in range(2):
        finished.ask_at_play_gate(copied, tiny_config(), Told())
    assert len(log.read_bytes().splitlines()) == before + 1
