"""Presets: whole configurations, by name."""

from __future__ import annotations

import json

import pytest

from terrarium.config import from_tree, override
from terrarium.errors import UsageError
from terrarium.presets import PRESETS, preset
from terrarium.run.folder import STAGES

QUICK = preset("quick")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    assert from_tree(json.loads(json.dumps(config.model_dump(mode="json"))), "run.json") == config


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_what_scripts_rely_on(name: str, stage: str) -> None:
    changed = override(preset(name), [f"{stage}.steps=7", f"{stage}.checkpoint_every=2"])
    assert getattr(changed, stage).steps == 7
    assert getattr(changed, stage).checkpoint_every == 2


def test_an_unknown_preset_is_told_the_presets() -> None:
    with pytest.raises(UsageError, match=r"no preset 'quikc'.*quick, small, base"):
        preset("quikc")
