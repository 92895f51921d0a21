"""Parameters that do not move are named, once."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from healing_samples import Ward

from terrarium.data.dataset import Dataset
from terrarium.healing.movement import note_unmoved

pytestmark = pytest.mark.usefixtures("quick_disk")


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
