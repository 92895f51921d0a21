"""States at rest in memory: how many, which one, and what becomes of one that is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from terrarium.data.dataset import Dataset
from terrarium.run.verify import judge
from terrarium.train.recent import KEPT, Recent, save_recent
from terrarium.train.saver import Snapshot
from terrarium.train.state import TrainState
from tiny_training import make_folder, make_stage, train
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")


def steps(recent: Recent, *asked: int) -> list[int | None]:
    found = [recent.newest_until(step) for step in asked]
    return [each.step if each else None for each in found]


def test_the_last_few_are_remembered() -> None:
    recent = Recent()
    for step in range(10, 10 * (KEPT + 3), 10):
        recent.remember(Snapshot(step, {}, {}))
    assert steps(recent, 29, 30, 35, 999) == [None, 30, 30, 60]
    assert (recent.newest_until(55, but={50}) or Snapshot(0, {}, {})).step == 40


def test_what_was_taken_back_is_forgotten() -> None:
    recent = Recent()
    for step in (10, 20, 30, 20):
        recent.remember(Snapshot(step, {}, {}))
    assert steps(recent, 99, 19) == [20, 10]


@pytest.mark.parametrize("name", ["video_tokenizer", "latent_actions"])
def test_a_state_from_memory_becomes_the_checkpoint_that_it_would_have_been(
    name: str, footage: Dataset, tmp_path: Path
) -> None:
    folder, config = make_folder(tmp_path / "run", name), tiny_config()
    train(folder, footage)
    stage = make_stage(name, footage, tmp_path, config)
    state = TrainState.begin(stage.model, stage.config)
    state.load(folder, 3)
    saved = shutil.move(folder.checkpoint_path(3), tmp_path / "saved")
    untrained = make_stage(name, footage, tmp_path, config).model
    path = save_recent(state.snapshot(), stage, folder, config, untrained)
    assert path == folder.checkpoint_path(3)
    assert judge(path, run_id=folder.run_id, kind=name).whole
    contents = [{file.name: file.read_bytes() for file in Path(each).iterdir()} for each in (saved, path)]
    for each in contents:
        each.pop("manifest.json")  # it says when it was written
    assert contents[0] == contents[1]
