"""What careless and hostile hands did once; each test is a hole that was closed."""

from __future__ import annotations

import functools
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from terrarium import finished, pipeline
from terrarium.cli import main
from terrarium.data.dataset import Dataset
from terrarium.data.loader import ClipSampler
from terrarium.data.tokens import TokenSampler, TokenStore
from terrarium.data.writer import DatasetWriter
from terrarium.run.folder import RunFolder
from terrarium.train import records
from terrarium.train.loop import train_stage
from tiny_training import Crash, Told, make_folder, make_stage
from tiny_world import TINY, as_options, store_footage, tiny_config


@pytest.fixture(autouse=True)
def _here(quick_disk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)


def terrarium(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a user would see a traceback
    return result


@pytest.fixture
def _few_files() -> Iterator[None]:
    """This process may open twenty more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_few_files")
def test_more_episodes_than_a_process_may_open_files(tmp_path: Path) -> None:
    episodes = store_footage(tmp_path / "many", (16, 16), episodes=60, frames=4).train
    store = TokenStore(tmp_path / "tokens", ["many"], 1)
    store.fill(
        episodes,
        lambda frames: (np.zeros((len(frames), 1), np.uint16), np.zeros(len(frames) - 1, np.uint16)),
        lambda _done, _total: None,
    )
    sampler = TokenSampler(store, ClipSampler(episodes, 4, 50, 0, "dynamics"), episodes)
    assert sampler.batch(0).tokens_BTP.shape == (50, 4, 1)


def test_killed_between_picture_and_checkpoint_no_picture_is_missing(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config = make_folder(tmp_path / "run", "video_tokenizer"), tiny_config()
    train = functools.partial(train_stage, folder=folder, config=config, progress=Told())

    def crash(*_: object) -> None:
        raise Crash

    for step in ("save_picture", "Saver.save"):
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(f"{records.__name__}.{step}", crash)
            train(make_stage(folder.name, footage, tmp_path, config))
    train(make_stage(folder.name, footage, tmp_path, config))
    assert [path.name for path in folder.visualizations_path.glob("*.png")] == [
        "video_tokenizer_recon_step_6.png"
    ]


def test_footage_that_a_later_stage_can_not_use_is_refused_before_the_first(footage: Dataset) -> None:
    result = terrarium("train", "--data", footage.path, "--run", "r", *as_options("dynamics.clip_frames=21"))
    assert "dynamics needs clips of 21 frames" in result.stderr
    assert not Path("r/run.json").exists()


def test_held_out_episodes_that_show_no_change_are_refused(tmp_path: Path) -> None:
    with DatasetWriter(
        tmp_path / "data", height=32, width=32, frames_per_second=None, source="noise"
    ) as writer:
        for frames in (40, 3):
            writer.add_episode(np.zeros((frames, 32, 32, 3), np.uint8))
    result = terrarium("train", "--data", "data", "--run", "r", *as_options())
    assert result.exit_code == 1
    assert "4 held-out frames in a row are needed" in result.stderr


def test_a_run_is_resumed_by_any_of_its_settings(footage: Dataset) -> None:
    words = ("train", "--run", "r", "--preset", "quick", "--data", str(footage.path))
    assert terrarium(*words, *as_options()).exit_code == 0
    assert terrarium("train", "--run", "r", "--set", TINY[0]).exit_code == 0
    refused = terrarium("train", "--run", "r", "--set", "seed=1")
    assert "another configuration: seed was 0, now 1." in refused.stderr


def test_demo_goes_on_with_the_footage_of_its_run(
    trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun by `train`, the run has no footage of its own; none may be recorded into it."""
    monkeypatch.setattr(finished, "score", lambda *_: {})
    run = Path(shutil.copytree(trained.path, tmp_path / "copied"))
    assert terrarium("demo", "--no-play", "--run", run).exit_code == 0
    assert not (run / "footage").exists()


def test_sigterm_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def killed(*_: object, **__: object) -> None:
        with DatasetWriter(tmp_path / "half", height=16, width=16, frames_per_second=1, source="x"):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("terrarium.data.sources.gymnasium.record", killed)
    assert terrarium("record", "Any-v0").exit_code == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("hold", ["nan", "inf", "0"])
def test_actions_can_not_be_held_for_no_time_or_ever(hold: str) -> None:
    result = terrarium("record", "CartPole-v1", "--hold", hold)
    assert result.exit_code == 1
    assert f"hold={float(hold)}" in result.stderr


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "1001"])
def test_no_rate_is_no_rate_beside_hdf5_either(rate: str) -> None:
    Path("a_frames.h5").touch()
    result = terrarium("ingest", "a_frames.h5", "--out", "o", "--rate", rate)
    assert result.exit_code == 1
    assert "frames per second" in result.stderr


def test_a_size_of_very_many_digits() -> None:
    assert terrarium("record", "CartPole-v1", "--size", f"{'9' * 5000}x64").exit_code == 2
