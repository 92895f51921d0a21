"""What was decided is written down whole, and carried out whatever comes in between."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from terrarium import pipeline
from terrarium.data.dataset import Dataset
from terrarium.errors import RunError
from terrarium.healing.decisions import NAME, Decision, What, adjustment_of, cures_tried, undone, write_down
from terrarium.run import disk
from terrarium.run.folder import RunFolder, StageFolder
from terrarium.train.adjustments import Adjustment, Adjustments, set_back
from tiny_training import Crash, Told, crash_after, make_folder, timeless
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")
BACK = Decision(40, What.RETUNE, code="loss-jump", onset=22, resumed_from=20, rate_factor=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return make_folder(tmp_path / "run", "dynamics")


def test_a_decision_is_undone_until_it_is_carried_out(folder: StageFolder) -> None:
    write_down(folder, Decision(20, What.CONTINUE))
    assert undone(folder) is None
    for number, rate in ((1, 0.5), (2, 0.5), (3, 0.1)):  # the second asks for the same as the first
        write_down(folder, replace(BACK, rate_factor=rate))
        write_down(folder, Decision(60, What.STOP))
        asked = Adjustment(20, rate, reason="loss-jump", decision=number)
        assert undone(folder) == asked
        set_back(folder, asked)
        assert undone(folder) is None
    assert Adjustments.read(folder).rate_factor(30) == pytest.approx(0.025)


def test_what_an_older_version_wrote_is_left_alone(folder: StageFolder) -> None:
    set_back(folder, Adjustment(20, 0.5))
    write_down(folder, BACK)
    assert undone(folder) is None


@pytest.mark.parametrize("row", [{}, {"what": "retune"}, {"resumed_from": None, "rate_factor": 1}])
def test_a_row_that_asks_for_nothing(row: dict[str, object]) -> None:
    assert adjustment_of(row, 1) is None


def test_a_decision_that_a_full_disk_cut_off_takes_no_other_with_it(
    folder: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(path: Path, content: bytes) -> None:
        path.write_bytes(content[:30])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "append_durably", cut_off)
        with pytest.raises(RunError, match=r"gates\.jsonl can't be written: No space left.*Free some space"):
            write_down(folder, BACK)
    write_down(folder, BACK)
    assert len((folder.path / NAME).read_bytes().splitlines()) == 2
    assert [row["onset"] for row in cures_tried(folder)] == [22]


def test_killed_between_a_decision_and_the_way_back_it_goes_back_then(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), crash_after(5))
    stage = RunFolder.open(tmp_path / "run").stage("video_tokenizer")
    write_down(stage, replace(BACK, step=5, onset=1, resumed_from=0))
    told = crash_after(6)
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", None, None, told)
    assert [row["step"] for row in told.rows] == list(range(6)), (
        "the checkpoint of step 3 is not gone on from"
    )
    assert "video_tokenizer goes back to step 0: decided before it was stopped, for loss-jump" in told.lines
    assert [row["step"] for row in timeless(stage)] == list(range(6))
    straight = pipeline.train(tmp_path / "straight", footage.path, tiny_config(), Told())
    pairs = zip(timeless(stage), timeless(straight.stage("video_tokenizer")), strict=True)
    for mine, theirs in pairs:
        assert mine["learning_rate"] == pytest.approx(float(str(theirs["learning_rate"])) / 2)
    assert undone(stage) is None
