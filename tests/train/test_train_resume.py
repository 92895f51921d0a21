"""A run that was stopped and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from terrarium.data.dataset import Dataset
from terrarium.errors import CheckpointError
from terrarium.run.folder import STAGES, StageFolder
from terrarium.run.rows import read_history
from terrarium.run.survey import judge_path, list_checkpoints
from terrarium.train.interruption import Interrupted
from tiny_training import (
    Crash,
    Told,
    crash_after,
    discarded,
    flip_a_bit,
    make_folder,
    tensor_bytes,
    terminate_after,
    timeless,
    train,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture(scope="module")
def straight(footage: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageFolder]:
    """Each stage trained without a stop."""
    root = tmp_path_factory.mktemp("straight")
    folders = {name: make_folder(root / name, name) for name in STAGES}
    for folder in folders.values():
        train(folder, footage)
    return folders


def assert_same(folder: StageFolder, straight: StageFolder) -> None:
    assert timeless(folder) == timeless(straight)
    assert tensor_bytes(folder).keys() >= {f"{folder.name}_step_6/optimizer.safetensors"}
    for file, content in tensor_bytes(straight).items():
        assert tensor_bytes(folder)[file] == content, file
    assert all(judgement.whole for judgement in judge_path(folder.path.parent))


@pytest.mark.parametrize(
    ("name", "steps"),
    [("video_tokenizer", 4), ("latent_actions", 4), ("dynamics", 1), ("dynamics", 3), ("dynamics", 4)],
)
def test_asked_to_end_and_resumed(
    name: str, steps: int, footage: Dataset, straight: dict[str, StageFolder], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "run", name)
    with pytest.raises(Interrupted):
        train(folder, footage, progress=terminate_after(steps))
    told = train(folder, footage)
    assert_same(folder, straight[name])
    assert told.lines == [f"resuming {name} from step {steps}"]
    assert [row["step"] for row in told.rows] == list(range(steps, 6))
    assert discarded(folder) == []


@pytest.mark.parametrize(
    ("name", "steps", "resumed_from"),
    [("video_tokenizer", 5, 3), ("latent_actions", 5, 3), ("dynamics", 5, 3), ("dynamics", 2, 0)],
)
def test_killed_and_resumed_rows_beyond_the_checkpoint_are_taken_back(
    name: str,
    steps: int,
    resumed_from: int,
    footage: Dataset,
    straight: dict[str, StageFolder],
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path / "run", name)
    with pytest.raises(Crash):
        train(folder, footage, progress=crash_after(steps))
    lost = timeless(folder)[resumed_from:]
    told = train(folder, footage)
    assert_same(folder, straight[name])
    assert any("2 rows beyond" in line for line in told.lines)
    rows = discarded(folder)
    assert [row["step"] for row in rows] == list(range(resumed_from, steps))
    assert [row["loss"] for row in rows] == [row["loss"] for row in lost]
    assert {row["reason"] for row in rows} == {f"resumed from step {resumed_from}"}


def test_killed_again_and_again(footage: Dataset, straight: dict[str, StageFolder], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "dynamics")
    for steps in (1, 2, 4, 1, 2, 1):
        with pytest.raises(Crash):
            train(folder, footage, progress=crash_after(steps))
    train(folder, footage)
    assert_same(folder, straight["dynamics"])
    assert len(discarded(folder)) == 1 + 2 + 1 + 1 + 2 + 1


def test_the_clock_goes_on_where_it_stood(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    with pytest.raises(Interrupted):
        train(folder, footage, progress=terminate_after(4))
    lines = [json.loads(line) for line in folder.history_path.read_text().splitlines()]
    for line in lines:
        line["runtime"] = line["runtime"] + 1000
    folder.history_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(folder, footage)
    runtimes = [float(row["runtime"] or 0) for row in read_history(folder.history_path).rows]
    assert runtimes == sorted(runtimes)
    assert runtimes[4] < 2000


def test_a_stage_that_is_done_stays_as_it_is(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    before = tensor_bytes(folder), timeless(folder)
    assert train(folder, footage).rows == []
    assert (tensor_bytes(folder), timeless(folder)) == before


def test_a_damaged_checkpoint_is_passed_over_by_name(
    footage: Dataset, straight: dict[str, StageFolder], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    flip_a_bit(list_checkpoints(folder)[-1] / "model.safetensors")
    told = train(folder, footage)
    assert any("passed over video_tokenizer_step_6" in line for line in told.lines)
    assert_same(folder, straight["video_tokenizer"])
    assert [row["step"] for row in discarded(folder)] == [3, 4, 5]


def test_where_every_checkpoint_is_damaged_none_is_written_over(
    footage: Dataset, straight: dict[str, StageFolder], tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    checkpoints = list_checkpoints(folder)
    for path in checkpoints:
        (path / "optimizer.safetensors").unlink()
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"none .* is whole \(.*_6: optimizer.*move them away"):
            train(folder, footage)
    assert len(timeless(folder)) == 6, "nothing was taken back"
    assert not discarded(folder)
    for path in checkpoints:
        path.rename(tmp_path / path.name)
    train(folder, footage)
    assert_same(folder, straight["video_tokenizer"])


def test_a_history_that_lost_rows_is_not_glued_over(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    lines = folder.history_path.read_text().splitlines(keepends=True)
    folder.history_path.write_text("".join(lines[:4]))
    with pytest.raises(CheckpointError, match=r"ends at step 3, the checkpoint is of step 6"):
        train(folder, footage)


def test_another_seed_is_another_run(
    footage: Dataset, straight: dict[str, StageFolder], tmp_path: Path
) -> None:
    """So that the tests above can fail."""
    for name in STAGES:
        folder = make_folder(tmp_path / name, name)
        train(folder, footage, "seed=1")
        assert timeless(folder) != timeless(straight[name])


def test_a_model_of_another_shape_is_refused(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    with pytest.raises(CheckpointError, match=r"another shape: encoder.0.weight is .* there and .* here"):
        train(folder, footage, "video_tokenizer.width=16", progress=Told())
