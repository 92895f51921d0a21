from __future__ import annotations

import dataclasses
import json
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from terrarium.config import Config
from terrarium.data.clip import Clips
from terrarium.data.dataset import Dataset
from terrarium.errors import TrainingError
from terrarium.run.folder import STAGES
from terrarium.run.history import History
from terrarium.run.rows import read_history
from terrarium.run.survey import judge_path, list_checkpoints
from terrarium.train.interruption import Interrupted
from terrarium.train.loop import train_stage
from terrarium.train.saver import Saver
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState
from terrarium.train.step import train_step
from tiny_training import (
    Told,
    make_folder,
    make_stage,
    tensor_bytes,
    terminate_after,
    timeless,
    train,
)
from tiny_world import tiny_config

EVERY_ROW = {"step", "runtime", "loss", "learning_rate", "grad_norm", "frames_per_second"}
MEASURES = {
    "video_tokenizer": {"psnr", "codebook_usage"},
    "latent_actions": {"action_entropy", "unique_actions", "codebook_usage"},
    "dynamics": {"accuracy", "changed_accuracy", "nats_per_token"},
}

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_from_the_first_step_to_the_last(name: str, footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", name)
    told = train(folder, footage)
    rows = read_history(folder.history_path).rows
    assert [row["step"] for row in rows] == list(range(6))
    assert set(rows[0]) >= EVERY_ROW | MEASURES[name]
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(isinstance(row["loss"], float) for row in rows)
    runtimes = [float(row["runtime"] or 0) for row in rows]
    assert runtimes == sorted(runtimes)
    assert [row["step"] for row in told.rows] == list(range(6))
    assert set(told.asked) == {(name, 6)}
    assert [path.name for path in list_checkpoints(folder)] == [f"{name}_step_3", f"{name}_step_6"]
    assert all(judgement.whole for judgement in judge_path(folder.path.parent))
    (picture,) = folder.visualizations_path.glob("*.png")
    assert picture.stem.endswith("_step_6")


@pytest.mark.parametrize("name", STAGES)
def test_a_picture_is_the_grid_that_its_sidecar_says(name: str, footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", name)
    config = tiny_config(f"{name}.steps=1", f"{name}.picture_every=1")
    train_stage(make_stage(name, footage, tmp_path, config), folder, config, Told())
    (path,) = folder.visualizations_path.glob("*.png")
    grid = json.loads(path.with_suffix(".json").read_text())
    picture = np.asarray(Image.open(path))
    tall, wide = grid["tile"]
    padding = grid["padding"]
    assert picture.shape == (
        grid["rows"] * (tall + padding) + padding,
        grid["columns"] * (wide + padding) + padding,
        3,
    )
    assert (grid["format"], grid["stage"], grid["step"]) == (1, name, 1)
    assert len(grid["row_labels"]) == grid["rows"]
    assert grid["row_labels"][:2] == ["truth", "model"]
    assert len(grid["column_labels"]) == grid["columns"]
    # the first tile is true footage, brought to size by repeating pixels
    tile = picture[padding : padding + tall : grid["scale"], padding : padding + wide : grid["scale"]]
    if name != "latent_actions":  # that one sees pooled frames
        assert any(np.array_equal(tile, frame) for e in footage.held_out for frame in e.frames_THWC)


def poisoned(stage: Stage, step: int, value: float) -> Stage:
    """The stage, but one batch holds a value that no footage can hold."""
    ill = stage.batches.batch(step).video_BTHWC

    def to_inputs(batch: Clips) -> tuple[torch.Tensor, ...]:
        video, *rest = stage.to_inputs(batch)
        return (torch.full_like(video, value) if np.array_equal(batch.video_BTHWC, ill) else video, *rest)

    return dataclasses.replace(stage, to_inputs=to_inputs)


@pytest.mark.parametrize("name", ["video_tokenizer", "latent_actions"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_is_named_and_not_learnt(
    name: str, value: float, footage: Dataset, tmp_path: Path
) -> None:
    config, folder = tiny_config(), make_folder(tmp_path / "run", name)
    stage = poisoned(make_stage(name, footage, tmp_path, config), 4, value)
    where = stage.batches.identity(4)
    with pytest.raises(TrainingError) as refusal:
        train_stage(stage, folder, config, Told())
    text = str(refusal.value)
    assert name in text
    assert "not finite" in text
    assert where in text
    assert "step 4" in where
    assert f"--set {name}.learning_rate=" in text
    assert [row["step"] for row in timeless(folder)] == [0, 1, 2, 3]
    assert [path.name for path in list_checkpoints(folder)] == [f"{name}_step_3", f"{name}_step_4"]

    healthy = make_folder(tmp_path / "healthy", name)
    train(healthy, footage)
    train(folder, footage)  # once the footage is mended, it goes on as if nothing had been
    assert timeless(folder) == timeless(healthy)
    mine, theirs = tensor_bytes(folder), tensor_bytes(healthy)
    assert {file: mine[file] for file in theirs} == theirs


def take_steps(stage: Stage, config: Config, count: int) -> TrainState:
    state = TrainState.begin(stage.model, stage.config)
    for step in range(count):
        train_step(state, stage, stage.to_inputs(stage.batches.batch(step)), config)
    return state


@pytest.mark.parametrize("name", STAGES)
def test_weights_stay_what_they_were_when_a_step_is_refused(
    name: str, footage: Dataset, tmp_path: Path
) -> None:
    config = tiny_config()
    stage = make_stage(name, footage, tmp_path, config)
    state = take_steps(stage, config, 2)
    with torch.no_grad():
        next(stage.model.parameters()).view(-1)[0] = float("nan")
    models = (state.model, state.average)
    before = [{key: value.clone() for key, value in model.named_parameters()} for model in models]
    moments = {key: value.clone() for key, value in state._optimizer_tensors().items()}
    with pytest.raises(TrainingError, match="not finite"):
        train_step(state, stage, stage.to_inputs(stage.batches.batch(2)), config)
    for model, kept in zip(models, before, strict=True):
        for key, value in model.named_parameters():
            torch.testing.assert_close(value, kept[key], rtol=0, atol=0, equal_nan=True)
    for key, moment in state._optimizer_tensors().items():
        assert torch.equal(moment, moments[key]), key
    assert state.step == 2


@pytest.mark.parametrize("name", ["video_tokenizer", "dynamics"])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    name: str, footage: Dataset, tmp_path: Path
) -> None:
    """Without randomness, and (unlike in latent actions) without statistics over the batch."""
    plain = ("dynamics.corruption=0", "dynamics.whole_mask=1", "dynamics.changed_weight=1")
    rows, moments = [], []
    for parts in (1, 2, 4):
        config = tiny_config(f"{name}.batch_size=4", f"{name}.gradient_accumulation={parts}", *plain)
        stage = make_stage(name, footage, tmp_path, config)
        state = TrainState.begin(stage.model, stage.config)
        rows.append(train_step(state, stage, stage.to_inputs(stage.batches.batch(0)), config))
        moments.append(state._optimizer_tensors())
    for row, moment in zip(rows[1:], moments[1:], strict=True):
        assert row["loss"] == pytest.approx(rows[0]["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(rows[0]["grad_norm"], rel=1e-4)
        assert set(row) == set(rows[0])
        for key, value in moment.items():  # after one step the first moment is a tenth of the gradient
            torch.testing.assert_close(value, moments[0][key], rtol=1e-3, atol=1e-6)


def test_the_gradient_is_clipped_and_its_norm_is_told_as_it_was(footage: Dataset, tmp_path: Path) -> None:
    norms, lengths = [], []
    for clip in (1000.0, 1e-3):
        config = tiny_config(f"dynamics.gradient_clip={clip}")
        stage = make_stage("dynamics", footage, tmp_path, config)
        state = TrainState.begin(stage.model, stage.config)
        row = train_step(state, stage, stage.to_inputs(stage.batches.batch(0)), config)
        norms.append(row["grad_norm"])
        first = [v for key, v in state._optimizer_tensors().items() if key.endswith("/exp_avg")]
        lengths.append(10 * float(torch.cat([v.flatten() for v in first]).norm()))
    assert norms[0] == norms[1]
    assert lengths == [pytest.approx(norms[0], rel=1e-3), pytest.approx(1e-3, rel=1e-2)]


def test_bfloat16_learns_too(footage: Dataset, tmp_path: Path) -> None:
    for name in STAGES:
        config = tiny_config("precision=bf16")
        stage = make_stage(name, footage, tmp_path, config)
        state = take_steps(stage, config, 2)
        assert {p.dtype for p in state.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_saves_first(number: signal.Signals, footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=rf"{number.name} at step 4 of video_tokenizer: saved"):
        train(folder, footage, progress=terminate_after(4, number))
    assert signal.getsignal(number) is before
    assert [path.name for path in list_checkpoints(folder)][-1] == "video_tokenizer_step_4"
    assert len(timeless(folder)) == 4


@pytest.mark.parametrize(("before", "steps"), [(signal.SIG_DFL, 4), (signal.SIG_IGN, 6)])
def test_a_terminal_that_closes_asks_once_and_not_at_all_under_nohup(
    before: signal.Handlers, steps: int, footage: Dataset, tmp_path: Path
) -> None:
    def hang_up(taken: int) -> None:
        if taken == 4:
            for _ in range(2):  # the terminal, and its shell
                signal.raise_signal(signal.SIGHUP)

    folder = make_folder(tmp_path / "run", "video_tokenizer")
    usual = signal.signal(signal.SIGHUP, before)
    try:
        with suppress(Interrupted):
            train(folder, footage, progress=Told(hang_up))
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, usual)
    assert list_checkpoints(folder)[-1] == folder.checkpoint_path(steps)


def test_asked_twice_it_ends_at_once(footage: Dataset, tmp_path: Path) -> None:
    def react(taken: int) -> None:
        if taken == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    folder = make_folder(tmp_path / "run", "video_tokenizer")
    with pytest.raises(KeyboardInterrupt):
        train(folder, footage, progress=Told(react))
    assert list_checkpoints(folder) == []
    assert len(timeless(folder)) == 2


def test_only_the_newest_checkpoints_are_kept(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage, "video_tokenizer.checkpoint_every=1", "video_tokenizer.keep_checkpoints=2")
    assert [path.name for path in list_checkpoints(folder)] == [f"video_tokenizer_step_{n}" for n in (5, 6)]


def test_rows_are_on_the_disk_before_their_checkpoint_counts(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave a checkpoint whose history is lost."""
    order: list[str] = []

    def noting(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def noted(*given: object, **named: object) -> None:
            order.append(name)
            original(*given, **named)

        monkeypatch.setattr(owner, name, noted)

    noting(History, "sync")
    noting(Saver, "save")
    train(make_folder(tmp_path / "run", "video_tokenizer"), footage)
    assert order == ["sync", "save"] * 2


def test_training_lowers_the_loss(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    settings = ("steps=40", "batch_size=4", "warmup_steps=2", "learning_rate=5e-3", "checkpoint_every=40")
    train(folder, footage, *(f"video_tokenizer.{setting}" for setting in settings))
    losses = [float(str(row["loss"])) for row in timeless(folder)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
