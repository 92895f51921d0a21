"""L4 and L5: checkpoints that are used, and what is found when they, or training, are not what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch

from terrarium.data.dataset import Dataset
from terrarium.errors import TrainingError
from terrarium.run.checkpoint import commit_checkpoint, read_files, read_state
from terrarium.run.folder import STAGES, StageFolder
from terrarium.run.survey import list_checkpoints
from terrarium.train.probe import probe_loss
from terrarium.train.proof import Proof, prove_probe, prove_replay, replay
from tiny_training import make_folder, make_stage, train
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("quick_disk")
OWN = ("format", "kind", "step", "run_id")


def proofs(folder: StageFolder, footage: Dataset, *assignments: str) -> tuple[Proof, Proof | None]:
    config = tiny_config(*assignments)
    stage = make_stage(folder.name, footage, folder.path.parent, config)
    newest = list_checkpoints(folder)[-1]
    return prove_probe(stage, folder, config, newest), prove_replay(stage, folder, config)


def rewrite(folder: StageFolder, file: str, **notes: object) -> None:
    """Save the newest checkpoint again, whole as far as L3 can see, with one tensor of a file changed."""
    newest = list_checkpoints(folder)[-1]
    files, state = read_files(newest), read_state(newest)
    tensors = safetensors.torch.load(files[file])
    name = max(tensors, key=lambda each: (tensors[each].numel(), each))
    tensors[name] *= 3.0
    files[file] = safetensors.torch.save(tensors)
    kept = {key: value for key, value in state.items() if key not in OWN}
    commit_checkpoint(folder, int(str(state["step"])), files, state={**kept, **notes}, keep=9)


@pytest.mark.parametrize("name", STAGES)
def test_a_sound_stage_passes_both(name: str, footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", name)
    train(folder, footage)
    probe, replayed = proofs(folder, footage)
    assert probe.holds, probe.reason
    assert probe.reason.endswith("is the same")
    assert replayed is not None
    assert replayed.holds, replayed.reason
    assert "3 steps" in replayed.reason


def test_other_averaged_weights_are_seen_by_the_probe_alone(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    rewrite(folder, "ema.safetensors")
    probe, replayed = proofs(folder, footage)
    assert probe.holds is False
    assert replayed is not None
    assert replayed.holds is False
    assert "ema.safetensors" in replayed.reason


def test_another_optimizer_state_is_seen_by_the_replay(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    rewrite(folder, "optimizer.safetensors")
    probe, replayed = proofs(folder, footage)
    assert probe.holds
    assert replayed is not None
    assert replayed.holds is False
    assert "optimizer.safetensors" in replayed.reason


def test_another_arithmetic_is_seen_by_the_replay(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage)
    _, replayed = proofs(folder, footage, "video_tokenizer.weight_decay=0.5")
    assert replayed is not None
    assert replayed.holds is False


def test_what_can_not_be_tried_is_no_verdict(footage: Dataset, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "video_tokenizer")
    train(folder, footage, "video_tokenizer.checkpoint_every=99")
    rewrite(folder, "ema.safetensors", probe_loss=None)
    probe, replayed = proofs(folder, footage)
    assert probe.holds is None
    assert replayed is None


def test_a_replay_leaves_the_stage_and_the_folder_alone(footage: Dataset, tmp_path: Path) -> None:
    folder, config = make_folder(tmp_path / "run", "video_tokenizer"), tiny_config()
    train(folder, footage)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    stage = make_stage(folder.name, footage, tmp_path, config)
    weights = {name: tensor.clone() for name, tensor in stage.model.state_dict().items()}
    state = replay(stage, folder, config, list_checkpoints(folder)[0], 6)
    assert state.step == 6
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    assert all(tensor.equal(weights[name]) for name, tensor in stage.model.state_dict().items())


def test_an_average_that_was_left_in_training_mode_is_not_asked(footage: Dataset, tmp_path: Path) -> None:
    stage = make_stage("latent_actions", footage, tmp_path, tiny_config())
    with pytest.raises(TrainingError, match="left in training mode"):
        probe_loss(stage.model.train(), stage, tiny_config())
    assert probe_loss(stage.model.eval(), stage, tiny_config()) < 1e9
