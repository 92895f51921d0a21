"""Steps taken again on copies: what they find room for, and which batches are bad by themselves."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from healing_samples import OneClipOnly, Ward, poisoned

from terrarium.data.dataset import Dataset
from terrarium.healing.decisions import Trouble
from terrarium.healing.retake import bad_in_a_row, try_rates
from terrarium.train.adjustments import Adjustments

pytestmark = pytest.mark.usefixtures("quick_disk")
RISING = Trouble(40, "loss-jump", 24)


def test_where_a_trial_finds_no_room_its_batches_are_cut_too(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=60")
    ward.write_history(np.linspace(0.1, 0.2, 40))
    roomy = try_rates(ward.stage, ward.stage.model, ward.folder, ward.config, None, RISING)
    tight = OneClipOnly(ward.stage.model)
    trials = try_rates(ward.stage, tight, ward.folder, ward.config, None, RISING)
    assert trials.plan == roomy.plan
    for factor, series in trials.again.items():
        assert all(map(math.isfinite, series))
        assert np.allclose(series, roomy.again[factor], rtol=0.2), "the step is the same, but for rounding"
    assert not Adjustments.read(ward.folder).made, "training itself may have room"


def test_where_a_batch_of_one_finds_no_room_nothing_is_tried(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=60", "batch_size=3")
    ward.write_history(np.linspace(0.1, 0.2, 40))
    tight = OneClipOnly(ward.stage.model)
    trials = try_rates(ward.stage, tight, ward.folder, ward.config, None, RISING)
    assert trials.again == {}
    assert trials.numbers(0.03)["steps tried"] == 0


def test_a_trial_takes_the_batches_that_training_took(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=40")
    ward.wrap(poisoned(ward.stage, {30}))
    ward.train()
    start = ward.folder.checkpoint_path(20)
    trials = try_rates(ward.stage, ward.stage.model, ward.folder, ward.config, start, RISING)
    assert trials.as_it_was == trials.again[1.0], "bit for bit, beyond the batch that was passed over"


def test_batches_are_bad_by_themselves_or_not(footage: Dataset, tmp_path: Path) -> None:
    ward = Ward(tmp_path / "run", footage, "steps=60")
    ill = dataclasses.replace(ward.stage, to_inputs=poisoned(ward.stage, {5, 6, 7}))
    counts = [bad_in_a_row(ill, ill.model, ward.config, first, 9) for first in (4, 5, 7, 8)]
    assert counts == [0, 3, 1, 0]
    assert bad_in_a_row(ill, ill.model, ward.config, 5, 2) == 2
