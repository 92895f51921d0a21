"""What the gate answers to a step that was not taken: not finite, or no room."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from healing_samples import OneClipOnly, Ward, poisoned

from terrarium.config import override
from terrarium.data.dataset import Dataset
from terrarium.errors import HealthError, NotFiniteError, TrainingError
from terrarium.train.adjustments import Adjustments
from tiny_training import timeless

pytestmark = pytest.mark.usefixtures("quick_disk")


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
