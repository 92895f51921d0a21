"""A finished world: scored, and its codes named as far as scoring found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terrarium import finished
from terrarium.run.folder import RunFolder
from tiny_training import Told


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
