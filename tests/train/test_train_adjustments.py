"""Going back and going on changed: what a gate does to a stage."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from terrarium.data.dataset import Dataset
from terrarium.errors import RunError, TrainingError
from terrarium.run.folder import StageFolder
from terrarium.run.survey import list_checkpoints
from terrarium.train.adjustments import NAME, Adjustment, Adjustments, set_back
from terrarium.train.interruption import never
from terrarium.train.loop import train_stage
from terrarium.train.optimizer import set_learning_rate
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState
from tiny_training import Crash, Told, crash_after, discarded, make_folder, make_stage, tensor_bytes, timeless
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")
STEPS = 9  # a checkpoint after 3, 6 and 9
SETTINGS = (f"video_tokenizer.steps={STEPS}", "video_tokenizer.picture_every=99")


class Once:
    """A gate that sets back once, after so many steps."""

    def __init__(self, after: int, adjustment: Adjustment) -> None:
        self._after, self._adjustment = after, adjustment
        self.asked: list[tuple[int, bool]] = []

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:  # noqa: ARG002
        self.asked.append((step, last))
        if step == self._after:
            self._after = -1
            return self._adjustment
        return None

    def passed(self, state: TrainState) -> None:
        """Remembers nothing."""

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        if self._after == step:
            self._after = -1
            return self._adjustment
        raise refusal


def train(folder: StageFolder, footage: Dataset, gate: Once | None, progress: Told | None = None) -> Told:
    config, progress = tiny_config(*SETTINGS), progress or Told()
    stage = make_stage("video_tokenizer", footage, folder.path.parent, config)
    train_stage(stage, folder, config, progress, gate)
    return progress


def poisoned(stage: Stage, batch: int) -> Stage:
    """The stage, but the footage of one batch is not finite, however often it is drawn."""
    ill = stage.batches.batch(batch).video_BTHWC

    def to_inputs(drawn: object) -> tuple[torch.Tensor, ...]:
        (video,) = stage.to_inputs(drawn)
        is_ill = np.array_equal(getattr(drawn, "video_BTHWC"), ill)  # noqa: B009 - any batch
        return (torch.full_like(video, float("nan")) if is_ill else video,)

    return dataclasses.replace(stage, to_inputs=to_inputs)


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return make_folder(tmp_path / "run", "video_tokenizer")


@pytest.mark.parametrize("back_to", [0, 3, 6])
def test_a_stage_goes_back_and_on_at_a_lower_rate(
    back_to: int, folder: StageFolder, footage: Dataset, tmp_path: Path
) -> None:
    straight = make_folder(tmp_path / "straight", "video_tokenizer")
    train(straight, footage, None)
    told = train(folder, footage, Once(8, Adjustment(back_to, 0.5, reason="too high")))
    rows, expected = timeless(folder), timeless(straight)
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[:back_to] == expected[:back_to], "what came before stays, bit for bit"
    for row, before in zip(rows[back_to:], expected[back_to:], strict=True):
        assert row["learning_rate"] == pytest.approx(0.5 * float(str(before["learning_rate"])))
    assert rows[back_to]["loss"] == expected[back_to]["loss"], "the first step back is on the same batch"
    assert rows[-1]["loss"] != expected[-1]["loss"]
    assert [row["step"] for row in discarded(folder)] == list(range(back_to, 8))
    assert f"video_tokenizer goes back to step {back_to}" in told.lines
    assert list_checkpoints(folder)[-1].name == "video_tokenizer_step_9"


def test_killed_after_going_back_it_resumes_changed(
    folder: StageFolder, footage: Dataset, tmp_path: Path
) -> None:
    straight, change = make_folder(tmp_path / "straight", "video_tokenizer"), Adjustment(3, 0.25)
    train(straight, footage, Once(8, change))
    with pytest.raises(Crash):
        train(folder, footage, Once(8, change), crash_after(10))
    train(folder, footage, None)
    assert timeless(folder) == timeless(straight)
    assert tensor_bytes(folder) == tensor_bytes(straight)


def test_batches_are_passed_over(folder: StageFolder, footage: Dataset, tmp_path: Path) -> None:
    straight = make_folder(tmp_path / "straight", "video_tokenizer")
    train(straight, footage, None)
    train(folder, footage, Once(8, Adjustment(6, skip_batches=2)))
    losses, expected = ([row["loss"] for row in timeless(each)] for each in (folder, straight))
    assert losses[:6] == expected[:6]
    assert losses[6] != expected[6]


def test_a_batch_that_is_not_finite_is_passed_over(folder: StageFolder, footage: Dataset) -> None:
    config = tiny_config(*SETTINGS)
    stage = poisoned(make_stage("video_tokenizer", footage, folder.path.parent, config), 7)
    gate = Once(7, Adjustment(6, skip_batches=2))
    train_stage(stage, folder, config, Told(), gate)
    assert [row["step"] for row in timeless(folder)] == list(range(STEPS))
    assert gate.asked[-1] == (STEPS, True)


def test_without_a_gate_it_stops_and_names_the_batch(folder: StageFolder, footage: Dataset) -> None:
    config = tiny_config(*SETTINGS)
    stage = poisoned(make_stage("video_tokenizer", footage, folder.path.parent, config), 7)
    set_back(folder, Adjustment(0, skip_batches=2))
    with pytest.raises(TrainingError, match="step 7: episodes"):
        train_stage(stage, folder, config, Told())
    assert [row["step"] for row in timeless(folder)] == list(range(5)), "the seventh batch, at the fifth step"


def test_a_rate_that_does_not_take_is_an_error() -> None:
    class Stubborn(dict[str, float]):
        def __setitem__(self, key: str, value: float) -> None:
            super().__setitem__(key, 0.01)

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    optimizer.param_groups.append(Stubborn(lr=0.01))
    with pytest.raises(TrainingError, match=r"0\.002 was asked for"):
        set_learning_rate(optimizer, 0.002)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 1), st.integers(0, 5)), max_size=6))
def test_adjustments_add_up_and_those_beyond_a_way_back_are_forgotten(
    changes: list[tuple[int, float, int]],
) -> None:
    adjustments = Adjustments()
    for step, factor, skip in changes:
        before = adjustments
        adjustments = adjustments.and_then(Adjustment(step, factor, skip))
        for earlier in range(step):
            assert adjustments.rate_factor(earlier) == before.rate_factor(earlier)
            assert adjustments.batch_of(earlier) == before.batch_of(earlier)
        assert adjustments.rate_factor(step) == pytest.approx(before.rate_factor(step) * factor)
        assert adjustments.batch_of(step) == before.batch_of(step) + skip
        assert adjustments.rate_factor(10**6) == adjustments.rate_factor(step)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"adjustments": 3}',
        '{"adjustments": [{"from_step": -1, "rate_factor": 1, "skip_batches": 0, "reason": ""}]}',
        '{"adjustments": [{"from_step": 1, "rate_factor": 2, "skip_batches": 0, "reason": ""}]}',
        '{"adjustments": ["x"]}',
    ],
)
def test_a_damaged_file_is_refused(content: str, folder: StageFolder) -> None:
    (folder.path / NAME).write_text(content)
    with pytest.raises(RunError, match="damaged"):
        Adjustments.read(folder)


def test_what_is_written_is_read(folder: StageFolder) -> None:
    set_back(folder, Adjustment(4, 0.5, reason="first"))
    set_back(folder, Adjustment(9, 0.1, 3, "second"))
    set_back(folder, Adjustment(7, 0.2, 0, "third"))
    assert [each.reason for each in Adjustments.read(folder).made] == ["first", "third"]
    assert json.loads((folder.path / NAME).read_text())["format"] == 1


def test_adjustments_can_be_told() -> None:
    """To processes whose view of a shared disk may be older than the file."""
    made = Adjustments((Adjustment(3, 0.5, 1, "loss-spike", 2), Adjustment(7, reason="later")))
    assert Adjustments.parse(json.loads(json.dumps(made.written())), Path()) == made
