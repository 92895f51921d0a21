"""The gate of a stage: healthy stages pass, ill ones are treated or stopped, and all is written down."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from healing_samples import OneClipOnly, Ward, poisoned, struck

from terrarium.config import override
from terrarium.data.dataset import Dataset
from terrarium.errors import HealthError, NotFiniteError, TrainingError
from terrarium.healing import gate as gates
from terrarium.healing import retake
from terrarium.healing.decisions import Trouble
from terrarium.healing.gate import BEFORE_TROUBLE
from terrarium.healing.movement import note_unmoved
from terrarium.healing.trial import Plan, Trials
from terrarium.healing.way_back import gone_back_to, newest_until
from terrarium.run.folder import checkpoint_step
from terrarium.run.retention import pinned
from terrarium.run.survey import list_checkpoints
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import Interrupted, never
from terrarium.train.loop import train_stage
from terrarium.train.optimizer import learning_rate_at
from terrarium.train.state import TrainState
from tiny_training import Crash, Told, crash_after, tensor_bytes, timeless

pytestmark = pytest.mark.usefixtures("quick_disk")


def ill_losses(rows: int = 240, at: int = 150) -> np.ndarray:
    """A loss that falls, then rises to three times its level and stays there."""
    noise = np.exp(np.random.default_rng(0).normal(0, 0.03, rows))
    steps = np.arange(rows)
    falling = 0.015 * (1 + 3 * np.exp(-steps / 30))  # better than guessing, which reaches 0.08
    return falling * noise * np.where(steps < at, 1, 1 + np.minimum(2, (steps - at) / 20))


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


def test_parameters_that_stay_what_they_were_are_named(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40")
    name = max(dict(ward.stage.model.named_parameters()), key=len)
    ward.stage.model.get_parameter(name).requires_grad_(False)
    ward.train()
    noted = json.loads((ward.folder.path / "parameters.json").read_text())
    assert noted["unmoved"] == [name]
    assert [line for line in ward.told.lines if name in line], "told, once"
    assert {row["verdict"] for row in ward.decisions("continue")} == {"watch"}


def test_of_a_model_that_did_not_move_at_all_nothing_is_said(footage: Dataset, tmp_path: Path) -> None:
    """Weights in shards are a copy: the stage's own model is the one before its first step, for ever."""
    ward = Ward(tmp_path / "run", footage, "steps=40")
    assert note_unmoved(ward.stage.model, copy.deepcopy(ward.stage.model), ward.folder, 40) == []
    assert not (ward.folder.path / "parameters.json").exists()


def test_a_rate_that_is_too_high_is_found_tried_and_lowered(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=200", "learning_rate=1")
    ward.train()
    (cure, *_) = ward.decisions("retune")
    assert cure["cause"] == "learning-rate-too-high"
    assert cure["resumed_from"] <= cure["onset"] < cure["step"]
    assert cure["numbers"]["loss at rate x 0.333"] < cure["numbers"]["loss as it was"]
    rows = timeless(ward.folder)
    assert [row["step"] for row in rows] == list(range(200))
    factor = Adjustments.read(ward.folder).rate_factor(199)
    assert factor <= 1 / 3
    assert rows[-1]["learning_rate"] == pytest.approx(learning_rate_at(199, ward.stage.config) * factor)
    assert ward.decisions()[-1]["what"] == "continue"
    assert any("loss-worse-than-chance, since step" in line for line in ward.told.lines)


def test_killed_before_it_falls_ill_it_is_healed_as_if_it_had_not_been(
    footage: Dataset, tmp_path: Path
) -> None:
    """The states of the last gates went with the process; no checkpoint from before the onset is kept."""
    settings = "steps=140", "learning_rate=1"
    straight, killed = (Ward(tmp_path / name, footage, *settings) for name in ("straight", "killed"))
    straight.train()
    killed.told = crash_after(110)
    with pytest.raises(Crash):
        killed.train()
    again = Ward(tmp_path / "again", footage, *settings)
    again.folder = killed.folder
    again.train()
    assert any("are taken again, to go back to there" in line for line in again.told.lines)
    cures = [ward.decisions("retune", "roll back") for ward in (straight, again)]
    for cure in (each for several in cures for each in several):
        del cure["at"]
    assert cures[0] == cures[1]
    assert cures[0][0]["resumed_from"] > 0
    assert timeless(again.folder) == timeless(straight.folder)
    last = "video_tokenizer_step_140/"
    files = [tensor_bytes(ward.folder) for ward in (straight, again)]
    assert {name: blob for name, blob in files[0].items() if name.startswith(last)} == {
        name: blob for name, blob in files[1].items() if name.startswith(last)
    }


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
    assert newest_until(ward.folder, stopped["onset"]) == ward.folder.checkpoints_path / kept


def test_one_bad_batch_is_passed_over(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=30")
    ward.wrap(poisoned(ward.stage, {25}))
    ward.train()
    assert [row["step"] for row in timeless(ward.folder)] == list(range(30))
    (cure,) = ward.decisions("roll back", "retune", "restart stage")
    assert (cure["code"], cure["onset"], cure["skip_batches"]) == ("loss-not-finite", 25, 1)
    assert "episodes" in cure["reason"], "it names the footage"


def test_batches_that_are_bad_by_themselves_are_passed_over_together(
    footage: Dataset, tmp_path: Path
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=30")
    ward.wrap(poisoned(ward.stage, {25, 26}))
    ward.train()
    (cure,) = ward.decisions("roll back", "retune", "restart stage")
    assert (cure["code"], cure["onset"], cure["skip_batches"]) == ("loss-not-finite", 25, 2)
    assert "and 1 more that follow" in cure["reason"]
    assert Adjustments.read(ward.folder).rate_factor(29) == 1, "nothing says that the rate was wrong"


def test_where_every_batch_is_bad_it_stops_in_the_end(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=30")
    ward.config = override(ward.config, ["gates.retries_in_all=2"])
    ward.wrap(poisoned(ward.stage, set(range(25, 99))))
    with pytest.raises(HealthError, match="set back 2 times in all already"):
        ward.train()
    assert [row["skip_batches"] for row in ward.decisions("roll back")] == [16, 16]
    ward.heal = False
    with pytest.raises(TrainingError, match="not finite"):
        ward.train()


def test_where_good_batches_are_not_finite_the_rate_is_lowered(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=30")
    ward.train()
    gate, refusal = ward.gate(), NotFiniteError("the loss is not finite", "look")
    skipped, lowered = gate.answer(refusal, 25), gate.answer(refusal, 25)
    assert (skipped.from_step, skipped.skip_batches, skipped.rate_factor) == (25, 1, 1)
    assert (lowered.from_step, lowered.skip_batches) == (20, 0)
    assert lowered.rate_factor == pytest.approx(1 / 3)
    assert "good by itself" in ward.decisions("retune")[0]["reason"]


def test_for_a_rate_that_does_not_take_no_batch_is_blamed(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=30")
    with pytest.raises(TrainingError, match="was asked for"):
        ward.gate().answer(TrainingError("the rate is 1, and 2 was asked for"), 25)
    (decision,) = ward.decisions()
    assert (decision["what"], decision["code"]) == ("stop", "")
    assert "2 was asked for" in decision["reason"]


def test_out_of_memory_halves_the_parts_and_not_the_step(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=4", "gradient_accumulation=1")
    ward.stage = dataclasses.replace(ward.stage, model=OneClipOnly(ward.stage.model))
    ward.train()
    (cure,) = ward.decisions("retune")
    assert (cure["code"], cure["accumulation_factor"]) == ("out-of-memory", 2)
    assert Adjustments.read(ward.folder).accumulation_factor(0) == 2
    assert len(timeless(ward.folder)) == 4


def test_a_batch_of_one_can_not_be_cut(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=4", "batch_size=3")
    ward.stage = dataclasses.replace(ward.stage, model=OneClipOnly(ward.stage.model))
    with pytest.raises(HealthError, match="can't be cut further"):
        ward.train()


def test_where_the_rate_is_not_to_blame_batches_are_passed_over(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=400")
    ward.write_history(ill_losses())
    monkeypatch.setattr(
        gates, "try_rates", lambda *_: Trials([3.0, 3.1], {1.0: [3.0, 3.1], 1 / 3: [2.98, 3.1]})
    )
    adjustment = ward.gate().ask(240, last=False)
    assert adjustment is not None
    assert (adjustment.from_step, adjustment.rate_factor, adjustment.skip_batches) == (0, 1.0, 240)
    (cure,) = ward.decisions()
    assert cure["what"] == "roll back"
    assert abs(cure["onset"] - 150) < 20


def test_what_was_neither_rate_nor_batches_is_rolled_back_unchanged(footage: Dataset, tmp_path: Path) -> None:
    settings = "steps=160", "gate_every=10", "checkpoint_every=50"
    ward = Ward(tmp_path / "run", footage, *settings)
    ward.wrap(struck(ward.stage, 118))  # the probes of two checkpoints are drawn too: in step 115
    ward.train()
    (cure,) = ward.decisions("roll back", "retune", "restart stage")
    assert (cure["what"], cure["rate_factor"], cure["skip_batches"]) == ("roll back", 1.0, 0)
    assert cure["resumed_from"] == 110, "the state at the last gate, and not the checkpoint of step 100"
    assert cure["numbers"]["loss at rate x 1"] < cure["numbers"]["loss as it was"]
    straight = Ward(tmp_path / "straight", footage, *settings)
    train_stage(straight.stage, straight.folder, straight.config, Told())
    assert timeless(ward.folder) == timeless(straight.folder), "as if nothing had been"


def test_a_trial_reaches_the_trouble_however_far_the_checkpoint_is(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=400")
    ward.write_history(ill_losses())
    asked: list[tuple[Path | None, Trouble]] = []

    def try_nothing(*arguments: object) -> Trials:
        *_, start, trouble, _measure, _asked = arguments
        asked.append((start, trouble))  # type: ignore[arg-type]
        return Trials([3.0, 3.0], {1.0: [3.0, 3.0], 1 / 3: [1.0, 1.0]})

    monkeypatch.setattr(gates, "try_rates", try_nothing)
    assert ward.gate().ask(240, last=False) is not None
    ((start, trouble),) = asked
    assert start is None
    assert 130 < trouble.onset < 170 < trouble.step


def test_where_going_back_was_in_vain_it_goes_back_further(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=60", "keep_checkpoints=9")
    ward.train()
    (ward.folder.path / "gates.jsonl").write_text(
        '{"step": 60, "what": "roll back", "code": "loss-jump", "resumed_from": 60}\n'
    )
    troubles = [Trouble(60, code, 60) for code in ("loss-jump", "loss-spike")]
    back = [newest_until(ward.folder, 60, but=gone_back_to(ward.folder, each)) for each in troubles]
    assert [checkpoint_step(path) for path in back] == [40, 60]


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


def collapsed(ward: Ward) -> None:
    """A history in which most codes fall out of use after 240 steps."""
    steps = np.arange(300)
    noise = np.exp(np.random.default_rng(1).normal(0, 0.02, 300))
    usage = np.where(steps < 240, 0.8, 0.005) * noise
    ward.write_history(0.015 * (1 + 3 * np.exp(-steps / 30)) * noise, codebook_usage=usage)


def test_codes_that_collapse_are_tried_by_their_use(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=400")
    collapsed(ward)
    monkeypatch.setattr(gates, "newest_until", lambda *_: None)
    monkeypatch.setattr(retake, "plan_trial", lambda *_: Plan(0, 0, 12, 6, 72))
    assert ward.gate().ask(300, last=False) is not None
    (cure,) = ward.decisions()
    assert (cure["code"], cure["what"]) == ("codebook-collapsed", "roll back")
    assert cure["numbers"]["codebook_usage at rate x 1"] > 0


def test_a_stage_whose_codes_collapse_again_and_again_begins_anew(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=400")
    collapsed(ward)
    row = '{"step": 290, "what": "roll back", "code": "codebook-collapsed", "resumed_from": 200}\n'
    (ward.folder.path / "gates.jsonl").write_text(row * 2)
    adjustment = ward.gate().ask(300, last=False)
    assert adjustment is not None
    assert (adjustment.from_step, adjustment.skip_batches) == (0, 300)
    assert adjustment.rate_factor == pytest.approx(1 / 3)
    assert ward.decisions()[-1]["what"] == "restart stage"


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
