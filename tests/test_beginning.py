"""How a run begins, and what is refused when it is opened again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from terrarium import pipeline
from terrarium.config import from_tree
from terrarium.data.dataset import Dataset
from terrarium.errors import DataError, RunError
from terrarium.evaluate import open_footage
from terrarium.run.folder import RunFolder
from tiny_training import Crash, Told, crash_after
from tiny_world import store_footage, tiny_config

pytestmark = pytest.mark.usefixtures("no_reports")


def test_a_run_says_what_it_was_asked_and_where(trained: RunFolder, footage: Dataset) -> None:
    facts = trained.facts
    assert facts["data"] == str(footage.path.resolve())
    assert facts["data_fingerprint"] == footage.fingerprint
    assert facts["frame_size"] == [32, 32]
    assert facts["preset"] == "quick"
    assert from_tree(facts["config"], "run.json") == tiny_config()
    assert facts["device"] == "cpu"
    assert facts["threads"] == 1
    versions = facts["versions"]
    assert isinstance(versions, dict)
    assert versions.keys() >= {"python", "terrarium", "torch"}


def test_a_run_is_resumed_with_its_own_configuration(copied: RunFolder, footage: Dataset) -> None:
    asked = tiny_config("dynamics.steps=7", "seed=3")
    with pytest.raises(RunError) as refusal:
        pipeline.train(copied.path, footage.path, asked, Told())
    assert "seed was 0, now 3; dynamics.steps was 6, now 7" in str(refusal.value)
    assert "video_tokenizer" not in str(refusal.value)


def test_a_run_is_resumed_on_its_own_footage(copied: RunFolder, tmp_path: Path) -> None:
    other = store_footage(tmp_path / "other", (32, 32), frames=21)
    with pytest.raises(RunError, match=r"other footage than .*other"):
        pipeline.train(copied.path, other.path, None, Told())


def test_footage_that_moved_is_found_again_for_good(
    copied: RunFolder, footage: Dataset, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(footage.path, tmp_path / "here"))
    pipeline.train(copied.path, here, None, Told())
    there = here.rename(tmp_path / "there")
    with pytest.raises(DataError, match="is no longer in"):
        open_footage(RunFolder.open(copied.path))
    run = pipeline.train(copied.path, there, None, Told())
    assert open_footage(run).path == run.data == there
    assert run.facts == {**copied.facts, "data": str(there)}


def test_footage_that_was_exchanged_behind_a_run_is_noticed(footage: Dataset, tmp_path: Path) -> None:
    data = Path(shutil.copytree(footage.path, tmp_path / "data"))
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", data, tiny_config(), crash_after(1))
    shutil.rmtree(data)
    with pytest.raises(DataError, match=r"is no longer in .*data\. .*--data FOLDER"):
        pipeline.train(tmp_path / "run", None, None, Told())
    store_footage(data, (32, 32), frames=21)
    with pytest.raises(RunError, match="was trained on footage with fingerprint"):
        pipeline.train(tmp_path / "run", None, None, Told())


def test_a_run_that_carries_its_footage_may_move(footage: Dataset, tmp_path: Path) -> None:
    data = Path(shutil.copytree(footage.path, tmp_path / "run" / "footage"))
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", data, tiny_config(), crash_after(4))
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    told = Told()
    pipeline.train(moved, None, None, told)
    assert told.rows[0]["step"] == 3


def test_nothing_to_begin_with(footage: Dataset, tmp_path: Path) -> None:
    for data, config in ((footage.path, None), (None, tiny_config()), (None, None)):
        with pytest.raises(RunError, match=r"not a run yet. Give --data and --preset"):
            pipeline.train(tmp_path / "run", data, config, Told())


def test_frames_that_no_grid_of_tokens_fits_are_refused(tmp_path: Path) -> None:
    data = store_footage(tmp_path / "data", (36, 32)).path
    with pytest.raises(DataError, match=r"36x32, not multiples of 8\. .*--size"):
        pipeline.train(tmp_path / "run", data, tiny_config(), Told())
    assert not (tmp_path / "run" / "run.json").exists()
