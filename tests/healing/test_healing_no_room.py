"""What the next start makes of a process that found no room in a step of several."""

from __future__ import annotations

from pathlib import Path

import pytest
from healing_samples import Ward

from terrarium.data.dataset import Dataset
from terrarium.errors import HealthError, OutOfMemoryError
from terrarium.healing.gate import DoctorGate
from terrarium.train.adjustments import Adjustments
from terrarium.train.no_room import leave_note
from tiny_training import timeless

NO_ROOM = OutOfMemoryError("no room for a micro-batch of 2 clips", "Raise gradient_accumulation.")


def test_the_next_start_takes_batches_in_smaller_parts(tmp_path: Path, footage: Dataset) -> None:
    ward = Ward(tmp_path, footage, "steps=4")
    leave_note(ward.folder, 1, ward.stage.config.micro_batch, NO_ROOM)
    ward.train()
    (cure,) = ward.decisions("retune")
    assert (cure["code"], cure["step"], cure["accumulation_factor"]) == ("out-of-memory", 0, 2)
    assert Adjustments.read(ward.folder).accumulation_factor(0) == 2
    assert len(timeless(ward.folder)) == 4


def test_shares_that_became_smaller_are_not_cut(tmp_path: Path, footage: Dataset) -> None:
    ward = Ward(tmp_path, footage, "steps=4")
    leave_note(ward.folder, 1, ward.stage.config.micro_batch + 1, NO_ROOM)
    ward.train()
    assert ward.decisions("retune") == []
    assert not list(ward.folder.path.glob("no-room*"))


def test_no_process_is_left_without_a_clip(tmp_path: Path, footage: Dataset) -> None:
    ward = Ward(tmp_path, footage, "steps=4", "batch_size=4")
    gate = DoctorGate(ward.stage, ward.folder, ward.config, heal=True, say=ward.told.say, processes=3)
    with pytest.raises(HealthError, match="a batch can't be cut further: no room"):
        gate.answer(NO_ROOM, 0)
