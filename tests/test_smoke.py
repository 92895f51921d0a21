"""The trial before a long run, with real processes; and when it is made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from terrarium import smoke
from terrarium.data.dataset import Dataset
from terrarium.errors import HealthError
from terrarium.run.lock import RunLock
from terrarium.smoke import LONG_RUN, NAME, Check, cut_footage, shortened, smoke_once
from tiny_training import Told
from tiny_world import tiny_config

LONG = f"dynamics.steps={LONG_RUN}"
Trial = Callable[..., list[Check]]


def trial(passed: bool, calls: list[int]) -> Trial:
    def try_it(*_: object) -> list[Check]:
        calls.append(1)
        return [Check("learns", passed, "1 -> 2")]

    return try_it


def test_everything_is_tried_and_nothing_is_left(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "STEPS", 8)
    told = Told()
    checks = smoke.smoke(footage.path, tiny_config(), tmp_path, told)
    assert [check.name for check in checks] == [
        "trains",
        "learns",
        "saves",
        "resumes bit for bit",
        "survives a kill",
        "is the same as if it had not been killed",
    ]
    assert all(check.passed for check in checks if check.name != "learns"), checks
    assert len([line for line in told.lines if line.startswith("smoke: ")]) == len(checks)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_trial_left_is_gone_after_the_next(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "_try_all", lambda *_: iter([]))
    for name in ("dead", "alive"):
        (tmp_path / f"{smoke.PREFIX}{name}" / "straight").mkdir(parents=True)
    with RunLock(tmp_path / f"{smoke.PREFIX}dead"):
        pass
    with RunLock(tmp_path / f"{smoke.PREFIX}alive"):
        smoke.smoke(footage.path, tiny_config(), tmp_path, Told())
    assert [path.name for path in tmp_path.iterdir()] == [f"{smoke.PREFIX}alive"]


def test_sizes_stay_and_steps_are_few() -> None:
    config = tiny_config(LONG, "dynamics.warmup_steps=500")
    short = shortened(config)
    assert short.dynamics.steps == smoke.STEPS
    assert short.dynamics.warmup_steps < smoke.STEPS
    kept = {"width", "batch_size", "clip_frames", "learning_rate", "trunk_layers"}
    assert short.dynamics.model_dump(include=kept) == config.dynamics.model_dump(include=kept)


def test_the_footage_is_cut_but_long_enough(footage: Dataset, tmp_path: Path) -> None:
    cut_footage(footage, tmp_path / "cut", tiny_config())
    cut = Dataset.open(tmp_path / "cut")
    assert (cut.height, cut.width) == (footage.height, footage.width)
    assert 0 < sum(map(len, cut.train)) <= sum(map(len, footage.train)) + sum(map(len, footage.held_out))
    assert cut.held_out


def test_it_is_made_once_for_a_configuration_and_footage(footage: Dataset, tmp_path: Path) -> None:
    calls: list[int] = []
    for run, config in (
        ("a", tiny_config(LONG)),
        ("b", tiny_config(LONG)),
        ("c", tiny_config(LONG, "seed=1")),
    ):
        smoke_once(tmp_path / run, footage.path, config, Told(), trial(True, calls))
    assert len(calls) == 2
    tree = json.loads((tmp_path / "a" / NAME).read_text())
    assert tree["checks"] == [dataclasses.asdict(Check("learns", True, "1 -> 2"))]
    assert not (tmp_path / "b" / NAME).exists()


def test_short_runs_and_resumes_are_not_kept_waiting(footage: Dataset, tmp_path: Path) -> None:
    calls: list[int] = []
    smoke_once(tmp_path / "short", footage.path, tiny_config(), Told(), trial(True, calls))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    smoke_once(tmp_path / "begun", footage.path, tiny_config(LONG), Told(), trial(True, calls))
    assert calls == []


def test_a_failed_trial_stops_the_run_and_is_made_again(footage: Dataset, tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(HealthError, match=r"failed: learns: 1 -> 2.*--no-smoke"):
            smoke_once(tmp_path / "run", footage.path, tiny_config(LONG), Told(), trial(False, calls))
    assert len(calls) == 2
    assert not (tmp_path / "run" / "run.json").exists()
