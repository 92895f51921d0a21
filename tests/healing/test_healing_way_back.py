"""Where a stage in trouble goes back to: checkpoints, states in memory, states taken again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from healing_samples import Ward, ill_losses

from terrarium.data.dataset import Dataset
from terrarium.errors import CheckpointError
from terrarium.healing import gate as gates
from terrarium.healing import way_back
from terrarium.healing.decisions import Trouble
from terrarium.healing.trial import Trials
from terrarium.run.folder import checkpoint_step
from terrarium.train.state import TrainState
from tiny_training import Crash, crash_after, tensor_bytes, timeless

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_a_state_in_memory_is_nearer_than_a_checkpoint_where_it_can_be_saved(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40")
    ward.train()
    back, state = ward.way_back(), TrainState.begin(ward.stage.model, ward.stage.config)
    state.load(ward.folder, 40)
    back.remember(state)
    shutil.rmtree(ward.folder.checkpoint_path(40))

    def no_space(*_: object) -> None:
        raise CheckpointError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(way_back, "save_recent", no_space)
        assert checkpoint_step(back.best_known(Trouble(50, "loss-jump", 45))) == 20
    assert any("step 40 stays in memory: no space left" in line for line in ward.told.lines)
    assert back.best_known(Trouble(50, "loss-jump", 45)) == ward.folder.checkpoint_path(40)
    assert checkpoint_step(back.best_known(Trouble(50, "loss-jump", 39))) == 20


def test_what_memory_lost_is_taken_again_if_one_process_trains_alone(
    footage: Dataset, tmp_path: Path
) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40", "gate_every=10")
    ward.train()
    trouble = Trouble(40, "loss-jump", 35)
    assert checkpoint_step(ward.way_back().best_known(trouble)) == 20, "for a stop no steps are taken"
    assert checkpoint_step(ward.way_back(processes=2).before(trouble)) == 20
    assert checkpoint_step(ward.way_back().before(trouble)) == 30
    assert checkpoint_step(ward.way_back().before(Trouble(400, "loss-jump", 399))) == 40, "390 is too far"
    in_vain = '{"step": 40, "what": "roll back", "code": "loss-jump", "resumed_from": 30}\n'
    (ward.folder.path / "gates.jsonl").write_text(in_vain)
    assert checkpoint_step(ward.way_back().before(trouble)) == 20, "neither from disk nor taken again"


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
    back = [ward.way_back().before(each) for each in troubles]
    assert [checkpoint_step(path) for path in back] == [40, 60]
