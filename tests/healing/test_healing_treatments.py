"""Which treatment is chosen for what the doctor found, and that it heals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from healing_samples import Ward, ill_losses, struck

from terrarium.data.dataset import Dataset
from terrarium.healing import gate as gates
from terrarium.healing import retake
from terrarium.healing.trial import Plan, Trials
from terrarium.train.adjustments import Adjustments
from terrarium.train.loop import train_stage
from terrarium.train.optimizer import learning_rate_at
from tiny_training import Told, timeless

pytestmark = pytest.mark.usefixtures("quick_disk")


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
