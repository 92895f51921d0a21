"""The gate of a stage: healthy stages pass, ill ones are stopped in the end, and all is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from healing_samples import Ward, ill_losses

from terrarium.data.dataset import Dataset
from terrarium.errors import HealthError, TrainingError
from terrarium.healing import gate as gates
from terrarium.healing.trial import Trials
from terrarium.healing.way_back import BEFORE_TROUBLE
from terrarium.run.folder import checkpoint_step
from terrarium.run.retention import pinned
from terrarium.run.survey import list_checkpoints
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import Interrupted, never
from terrarium.train.loop import train_stage
from terrarium.train.state import TrainState
from tiny_training import Told, tensor_bytes, timeless

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_a_healthy_stage_is_only_looked_at(footage: Dataset, tmp_path: Path) -> None:
    watched, alone = Ward(tmp_path / "a", footage, "steps=50"), Ward(tmp_path / "b", footage, "steps=50")
    watched.train()
    train_stage(alone.stage, alone.folder, alone.config, Told())
    assert [(row["step"], row["what"]) for row in watched.decisions()] == [
        (20, "continue"),
        (40, "continue"),
        (50, "continue"),
    ]
    assert all(row["numbers"]["loss"] > 0 for row in watched.decisions())
    assert timeless(watched.folder) == timeless(alone.folder)
    assert tensor_bytes(watched.folder) == tensor_bytes(alone.folder)


def test_without_healing_it_stops_with_the_reason(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=200", "learning_rate=1", heal=False)
    with pytest.raises(
        HealthError, match=r"critical at step \d+: loss-worse-than-chance.*best known"
    ) as stop:
        ward.train()
    assert (stopped := ward.decisions()[-1])["what"] == "stop"
    assert not Adjustments.read(ward.folder).made
    (kept,) = pinned(ward.folder)
    assert 0 < int(kept.rpartition("_")[2]) <= stopped["onset"], "the last one before trouble, from memory"
    assert f"The best known checkpoint is {kept}; move later ones away to resume" in str(stop.value)
    assert ward.way_back().newest_until(stopped["onset"]) == ward.folder.checkpoints_path / kept


def test_first_signs_pin_what_came_before(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40")
    ward.train()
    monkeypatch.setattr(gates, "first_signs", lambda _: 33)
    assert ward.gate().ask(40, last=False) is None
    assert pinned(ward.folder) == {"video_tokenizer_step_20": BEFORE_TROUBLE}


def test_a_history_that_can_not_be_read_is_not_a_reason_to_go_on(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40")
    (ward.folder.path / "history.jsonl").mkdir()
    with pytest.raises(HealthError, match="history can't be read"):
        ward.gate().ask(20, last=False)


def test_asked_to_leave_while_causes_are_tried_it_leaves_undecided(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=200", "learning_rate=1")
    train_stage(ward.stage, ward.folder, ward.config, ward.told, gate := Hurried(ward))
    assert gate.interrupted
    (cure, *_) = ward.decisions("retune")
    assert cure["cause"] == "learning-rate-too-high", "asked again, it decides as it would have"


class Hurried:
    """The ward's gate; whoever waits for it does not, the first time that it tries a cause."""

    def __init__(self, ward: Ward) -> None:
        self._ward, self._gate = ward, ward.gate()
        self.interrupted = False

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        if not self.interrupted:
            before = len(self._ward.decisions()) if step > 20 else 0
            try:
                return self._gate.ask(step, last=last, asked=lambda: "SIGTERM")
            except Interrupted:
                self.interrupted = True
                assert len(self._ward.decisions()) == before
                assert all(checkpoint_step(path) < step for path in list_checkpoints(self._ward.folder))
        return self._gate.ask(step, last=last, asked=asked)

    def passed(self, state: TrainState) -> None:
        self._gate.passed(state)

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        return self._gate.answer(refusal, step)


def cure(step: int, back: int, code: str = "loss-drifting-up") -> str:
    return json.dumps({"step": step, "what": "roll back", "code": code, "resumed_from": back}) + "\n"


@pytest.fixture
def rising(footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    """A stage whose loss rises from step 150 on, before its gate at step 240."""
    ward = Ward(tmp_path / "run", footage, "steps=400")
    ward.write_history(ill_losses())
    monkeypatch.setattr(gates, "try_rates", lambda *_: Trials((), {}))
    return ward


def code_of(ward: Ward) -> str:
    ward.heal = False
    with pytest.raises(HealthError):
        ward.gate().ask(240, last=False)
    ward.heal = True
    return str(ward.decisions()[-1]["code"])


def test_a_trouble_is_treated_only_so_often_over_restarts(rising: Ward) -> None:
    code = code_of(rising)
    (rising.folder.path / "gates.jsonl").write_text("torn" + cure(1, 1, code) + cure(240, 100, code) * 3)
    with pytest.raises(HealthError, match="set back 3 times for this already"):
        rising.gate().ask(240, last=False)


def test_cures_of_other_troubles_and_ones_that_held_do_not_count(rising: Ward) -> None:
    code = code_of(rising)
    held, other, memory = cure(60, 40, code), cure(240, 100, "x"), cure(0, 0, "out-of-memory")
    (rising.folder.path / "gates.jsonl").write_text(held * 3 + other * 3 + memory * 9)
    assert rising.gate().ask(240, last=False) is not None
    (rising.folder.path / "gates.jsonl").write_text(held * 5 + other * 5)
    with pytest.raises(HealthError, match="set back 10 times in all already"):
        rising.gate().ask(240, last=False)
