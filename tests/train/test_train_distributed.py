"""Several processes train as one would: the same rows within rounding, whatever their number and strategy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from together import LATE, STRATEGIES

from launching import start_together
from terrarium.data.dataset import Dataset
from terrarium.run.checkpoint import read_files
from terrarium.run.folder import STAGES, RunFolder, StageFolder
from terrarium.run.survey import newest_valid
from terrarium.train.interruption import Interrupted
from tiny_training import terminate_after, timeless, train

# micro-batches of three clips: two processes share them unevenly, three evenly
BATCHES = [f"{name}.{setting}" for name in STAGES for setting in ("batch_size=6", "gradient_accumulation=2")]
ROUNDING = 1e-5  # relative, of losses and measures; weights that get no gradient drift further
SCRIPT = Path(__file__).with_name("together.py")


@pytest.fixture(scope="module")
def alone(footage: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageFolder]:
    """Every stage, trained by one process."""
    run = RunFolder.create(tmp_path_factory.mktemp("alone") / "run", facts={})
    for name in STAGES:
        train(run.stage(name).create(), footage, *BATCHES)
    return {name: run.stage(name) for name in STAGES}


def weights(folder: StageFolder) -> dict[str, np.ndarray]:
    newest = newest_valid(folder)[0]
    assert newest is not None
    return safetensors.numpy.load(read_files(newest)["ema.safetensors"])


def assert_follows(folder: StageFolder, single: StageFolder) -> None:
    """The same rows and the same weights in the end, within rounding."""
    rows, expected = timeless(folder), timeless(single)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=ROUNDING, abs=1e-6), folder.path
    ours, theirs = weights(folder), weights(single)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0.02, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("count", [2, 3])
def test_together_they_follow_one(
    count: int, footage: Dataset, alone: dict[str, StageFolder], tmp_path: Path
) -> None:
    start_together(count, str(SCRIPT), str(footage.path), str(tmp_path), "0", *BATCHES)
    for strategy in STRATEGIES:
        run = RunFolder.open(tmp_path / strategy)
        for name in STAGES:
            assert_follows(run.stage(name), alone[name])
            assert_tells_who_is_late(run.stage(name), count)


def assert_tells_who_is_late(folder: StageFolder, count: int) -> None:
    """The last process was late in every step, the others not with it, though all waited for it."""
    rows = [json.loads(line) for line in (folder.path / "ranks.jsonl").read_text().splitlines()]
    ready_R = np.median([row["ready_seconds"] for row in rows], axis=0)
    assert len(ready_R) == count
    assert ready_R[-1] - ready_R[:-1].max() > LATE / 3, folder.path  # processes share two cores


def test_a_run_goes_on_with_another_number_of_processes(
    footage: Dataset, alone: dict[str, StageFolder], tmp_path: Path
) -> None:
    """One, then two, then three, then one: each goes on from what those before it saved."""
    for strategy in STRATEGIES:
        begun = RunFolder.create(tmp_path / strategy, facts={})
        for name in STAGES:
            with pytest.raises(Interrupted):
                train(begun.stage(name).create(), footage, *BATCHES, progress=terminate_after(1))
    for count in (2, 3):
        start_together(count, str(SCRIPT), str(footage.path), str(tmp_path), "1", *BATCHES)
    for strategy in STRATEGIES:
        run = RunFolder.open(tmp_path / strategy)
        for name in STAGES:
            assert [row["step"] for row in timeless(run.stage(name))] == [0, 1, 2], "all left together"
            train(run.stage(name), footage, *BATCHES)
            assert_follows(run.stage(name), alone[name])
