"""From footage to a trained run: what stands on what, what is refused, and what is never read."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from terrarium import pipeline
from terrarium.config import Config
from terrarium.data.dataset import Dataset
from terrarium.errors import CheckpointError, DataError, RunError
from terrarium.models.build import load_tokenizer, stage_is_trained, trained_checkpoint
from terrarium.models.world import World
from terrarium.run.folder import STAGES, RunFolder, StageFolder, read_json, write_json
from terrarium.run.survey import judge_path
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.interruption import Interrupted
from terrarium.train.proof import Proof, prove_probe
from terrarium.train.stages import Stage
from tiny_training import (
    Crash,
    Told,
    assert_same_run,
    crash_after,
    discarded,
    flip_a_bit,
    tensor_bytes,
    terminate_after,
    timeless,
)
from tiny_world import tiny_config

pytestmark = pytest.mark.usefixtures("no_reports")


def facts_of(path: Path) -> dict[str, object]:
    facts = read_json(path)
    assert isinstance(facts, dict)
    return facts


def test_a_stage_names_the_checkpoints_it_stands_on(trained: RunFolder) -> None:
    parents = {name: facts_of(trained.stage(name).config_path)["parents"] for name in STAGES}
    assert parents["video_tokenizer"] == parents["latent_actions"] == []
    expected = [
        {
            "path": f"{name}/checkpoints/{name}_step_6",
            "sha256": hashlib.sha256(
                (trained.stage(name).checkpoint_path(6) / "manifest.json").read_bytes()
            ).hexdigest(),
        }
        for name in ("video_tokenizer", "latent_actions")
    ]
    assert parents["dynamics"] == expected


def test_a_stage_says_how_long_it_is_and_what_chance_is(trained: RunFolder) -> None:
    for name in STAGES:
        facts = facts_of(trained.stage(name).config_path)
        assert (facts["format"], facts["stage"], facts["steps"]) == (1, name, 6)
        assert isinstance(facts["chance_level"], float)
        assert facts["loss_unit"]
        assert stage_is_trained(trained.stage(name))
    assert facts_of(trained.stage("dynamics").config_path)["chance_level"] == pytest.approx(np.log(1000))


def test_a_run_ends_with_a_report(trained: RunFolder) -> None:
    for name in ("report.md", "report.html", "report.json"):
        assert (trained.path / name).stat().st_size > 100
    assert all(judgement.whole for judgement in judge_path(trained.path))


def test_the_newest_run_in_results_is_latest(footage: Dataset, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with pytest.raises(Crash):
            pipeline.train(tmp_path / "results" / name, footage.path, tiny_config(), crash_after(1))
        assert (tmp_path / "results" / "latest").readlink() == Path(name)
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "elsewhere" / "run", footage.path, tiny_config(), crash_after(1))
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["run"]


def test_a_trained_run_is_left_as_it_is(copied: RunFolder, trained: RunFolder) -> None:
    told = Told()
    pipeline.train(copied.path, None, None, told)
    assert told.rows == []
    assert_same_run(copied, trained)


@pytest.mark.parametrize("steps", [2, 8, 13])
def test_stopped_in_any_stage_and_resumed_it_is_the_same_run(
    steps: int, footage: Dataset, trained: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), terminate_after(steps))
    told = Told()
    run = pipeline.train(tmp_path / "run", footage.path, tiny_config(), told)
    assert len(told.rows) == 18 - steps
    assert_same_run(run, trained)


def test_killed_before_its_last_checkpoint_was_used_a_stage_is_not_done(
    footage: Dataset, trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = list[str]()

    def die_first(stage: Stage, folder: StageFolder, config: Config, path: Path) -> Proof:
        used.append(path.name)
        if len(used) == 1:
            raise Crash
        return prove_probe(stage, folder, config, path)

    monkeypatch.setattr(pipeline, "prove_probe", die_first)
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), Told())
    run = pipeline.train(tmp_path / "run", None, None, Told())
    assert used == ["video_tokenizer_step_6", *(f"{name}_step_6" for name in STAGES)]
    assert_same_run(run, trained)


def test_a_checkpoint_that_failed_its_proof_is_refused_every_time(
    copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied.stage("dynamics").path / "proof.json").unlink()
    monkeypatch.setattr(pipeline, "prove_probe", lambda *args: Proof(args[3], 4, False, "it is 9"))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="does not do what it did when it was saved: it is 9"):
            pipeline.train(copied.path, None, None, Told())
    pipeline.train(copied.path, None, None, Told(), gates=False)


def test_a_report_that_can_not_be_written_hides_no_error(
    footage: Dataset, copied: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_path: Path) -> None:
        raise RunError("the report can't be written")

    def no_row(_taken: int) -> None:
        raise RunError("a row can't be added")

    monkeypatch.setattr(pipeline, "write_report", no_room)
    told = Told(no_row)
    with pytest.raises(RunError, match="a row can't be added"):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), told)
    assert told.lines[-1] == "the report can't be written"
    with pytest.raises(RunError, match="the report can't be written"):
        pipeline.train(copied.path, None, None, Told())


def test_who_asks_twice_does_not_wait_for_a_report(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = list[Path]()
    monkeypatch.setattr(pipeline, "write_report", reports.append)

    def ask_twice(_taken: int) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), Told(ask_twice))
    assert reports == []
    with pytest.raises(Interrupted):
        pipeline.train(tmp_path / "run", None, None, terminate_after(1))
    assert reports == [tmp_path / "run"]


class AskedWhileTokenizing(Told):
    """Is asked to leave when three episodes are tokenized."""

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        super().update(name, done, total, note)
        if done == 3:
            signal.raise_signal(signal.SIGTERM)


def test_asked_to_leave_between_stages_it_leaves_and_loses_nothing(
    footage: Dataset, trained: RunFolder, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM while no step was under way: nothing is lost"):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), AskedWhileTokenizing())
    assert signal.getsignal(signal.SIGTERM) is before
    assert_same_run(pipeline.train(tmp_path / "run", None, None, Told()), trained)


class DiesTokenizing(Told):
    """Dies when three episodes are tokenized."""

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        super().update(name, done, total, note)
        if done == 3:
            raise Crash


def test_killed_while_footage_is_tokenized(footage: Dataset, trained: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        pipeline.train(tmp_path / "run", footage.path, tiny_config(), DiesTokenizing())
    assert len(list((tmp_path / "run" / "tokens").glob("*/*.npy"))) == 3
    assert_same_run(pipeline.train(tmp_path / "run", None, None, Told()), trained)


def test_training_reads_neither_actions_nor_held_out_frames(
    footage: Dataset, trained: RunFolder, tmp_path: Path
) -> None:
    """With the one gone and the other noise, the same run comes out, bit for bit."""
    copy = Path(shutil.copytree(footage.path, tmp_path / "copy"))
    removed = list(copy.glob("actions-*"))
    for file in removed:
        file.unlink()
    (frames,) = copy.glob("frames-*")
    entries = json.loads((copy / "dataset.json").read_text())["episodes"]
    held_out = [entry for entry in entries if entry["held_out"]]
    pixels = np.memmap(frames, np.uint8, "r+").reshape(-1, 32, 32, 3)
    for entry in held_out:
        noise = np.random.default_rng(0).integers(0, 256, (entry["frames"], 32, 32, 3))
        pixels[entry["start"] : entry["start"] + entry["frames"]] = noise
    del pixels
    assert removed
    assert held_out
    with pytest.raises(DataError, match="missing"):
        _ = Dataset.open(copy).train[0].actions_T
    assert_same_run(pipeline.train(tmp_path / "run", copy, tiny_config(), Told()), trained)


def test_a_damaged_newest_checkpoint_is_made_again(copied: RunFolder, trained: RunFolder) -> None:
    stage = copied.stage("dynamics")
    flip_a_bit(stage.checkpoint_path(6) / "ema.safetensors")
    assert trained_checkpoint(stage) == stage.checkpoint_path(3)
    assert not stage_is_trained(stage)
    told = Told()
    pipeline.train(copied.path, None, None, told)
    assert [row["step"] for row in told.rows] == [3, 4, 5]
    assert any("passed over dynamics_step_6" in line for line in told.lines)
    assert_same_run(copied, trained)
    assert [row["step"] for row in discarded(stage)] == [3, 4, 5]


def test_a_world_stands_on_the_averaged_weights_of_the_newest_valid_checkpoints(
    copied: RunFolder,
) -> None:
    clip = Dataset.open(copied.data).held_out[0].frames_THWC[:6]
    dreamed = World.load(copied.path).dream(clip, 3)
    for name in STAGES:  # the live weights are not what is played
        assert tensor_bytes(copied.stage(name))[f"{name}_step_6/model.safetensors"]
        shutil.rmtree(copied.stage(name).checkpoint_path(3))
    assert np.array_equal(World.load(str(copied.path)).dream(clip, 3), dreamed)
    shutil.rmtree(copied.stage("dynamics").checkpoint_path(6))
    with pytest.raises(
        CheckpointError, match=r"dynamics has no valid checkpoint.*terrarium train --run /.*/copied$"
    ):
        World.load(copied.path)


def test_a_run_json_changed_by_hand_is_noticed(copied: RunFolder) -> None:
    tree = tiny_config("video_tokenizer.width=16").model_dump(mode="json")
    write_json(copied.path / "run.json", {**copied.facts, "config": tree})
    with pytest.raises(CheckpointError, match=r"does not fit.*size mismatch.*changed by hand") as refusal:
        load_tokenizer(RunFolder.open(copied.path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [None, [32], [32, 33], [0, 32], ["32", "32"], [32, 10**9], [32.0, 32.0]])
def test_a_frame_size_that_can_not_be_is_noticed(copied: RunFolder, size: object) -> None:
    write_json(copied.path / "run.json", {**copied.facts, "frame_size": size})
    with pytest.raises(RunError, match=r"run\.json: the key 'frame_size'"):
        load_tokenizer(RunFolder.open(copied.path))


def test_the_history_of_a_stage_is_that_of_its_rows(trained: RunFolder) -> None:
    for name in STAGES:
        assert [row["step"] for row in timeless(trained.stage(name))] == list(range(6))


def test_how_long_processes_wait_for_each_other_is_what_the_run_was_begun_with(
    copied: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def noted(seconds: float) -> AbstractContextManager[Ranks]:
        asked.append(seconds)
        return nullcontext(ALONE)

    monkeypatch.setattr(pipeline, "joined", noted)
    facts = facts_of(copied.path / "run.json")
    facts["config"] = tiny_config("ranks.timeout_seconds=7").model_dump(mode="json")
    write_json(copied.path / "run.json", facts)
    pipeline.train(copied.path, None, None, Told())
    pipeline.train(copied.path, None, tiny_config("ranks.timeout_seconds=9"), Told())
    assert asked == [7, 9]
