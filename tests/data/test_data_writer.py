from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import noise, turns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from terrarium.data import shard
from terrarium.data.dataset import Dataset
from terrarium.data.writer import DatasetWriter
from terrarium.errors import DataError


def writer(path: Path, **settings: Any) -> DatasetWriter:
    defaults: dict[str, Any] = {"height": 4, "width": 6, "frames_per_second": None, "source": "noise"}
    return DatasetWriter(path, **{**defaults, **settings})


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(lambda lengths: sum(lengths) >= 8),
    shard_bytes=st.integers(1, 2000),
    with_actions=st.booleans(),
    fraction=st.floats(0.01, 0.5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_come_back_in_order_whatever_the_shards(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    shard_bytes: int,
    with_actions: bool,
    fraction: float,
) -> None:
    path = tmp_path_factory.mktemp("round") / "d"
    names = ("a", "b", "c") if with_actions else None
    try:
        with writer(path, shard_bytes=shard_bytes, action_names=names, held_out_fraction=fraction) as out:
            for seed, length in enumerate(lengths):
                actions_T = turns(length, seed) if with_actions else None
                assert out.add_episode(iter(noise(length, seed)), actions_T) == length
    except DataError as error:
        assert "too few" in error.what
        return
    dataset = Dataset.open(path)
    assert dataset.train
    assert dataset.held_out
    episodes = sorted((*dataset.train, *dataset.held_out), key=lambda episode: episode.index)
    written = np.concatenate([noise(length, seed) for seed, length in enumerate(lengths)])
    assert np.array_equal(np.concatenate([episode.frames_THWC for episode in episodes]), written)
    for episode in episodes:
        assert (episode.actions_T is None) != with_actions


def test_equal_footage_has_equal_fingerprints(tmp_path: Path) -> None:
    def store(name: str, seed: int, value: int = 0) -> str:
        with writer(tmp_path / name, seed=seed) as out:
            for number in range(20):
                frames_THWC = noise(10, number)
                frames_THWC[0, 0, 0, 0] = value
                out.add_episode(frames_THWC)
        return Dataset.open(tmp_path / name).fingerprint

    first = store("a", 0)
    assert store("b", 0) == first
    assert store("c", 1) != first, "another split is another dataset"
    assert store("d", 0, value=1) != first


def test_a_single_episode_is_cut_in_two(tmp_path: Path) -> None:
    with writer(tmp_path / "d", held_out_fraction=0.2) as out:
        out.add_episode(noise(50, 0))
    dataset = Dataset.open(tmp_path / "d")
    assert np.array_equal(dataset.train[0].frames_THWC, noise(50, 0)[:40])
    assert np.array_equal(dataset.held_out[0].frames_THWC, noise(50, 0)[40:])


@pytest.mark.parametrize("frames", [0, 3])
def test_too_few_frames(tmp_path: Path, frames: int) -> None:
    with pytest.raises(DataError, match=r"too few|no footage"), writer(tmp_path / "d") as out:
        out.add_episode(noise(frames, 0))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with writer(tmp_path / "empty") as out:
        out.add_episode(noise(20, 0))
    before = Dataset.open(tmp_path / "empty").fingerprint
    with pytest.raises(DataError, match="already exists"), writer(tmp_path / "empty"):
        pass
    assert Dataset.open(tmp_path / "empty").fingerprint == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="already exists"), writer(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "new" / "deep" / "d") as out:
        out.add_episode(noise(20, 0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_swallowed_error_can_not_store_half_an_episode(tmp_path: Path) -> None:
    def breaking() -> Iterator[NDArray[np.uint8]]:
        yield from noise(5, 0)
        raise RuntimeError

    with pytest.raises(DataError, match="half written"), writer(tmp_path / "d") as out:
        out.add_episode(noise(20, 0))
        with pytest.raises(RuntimeError):
            out.add_episode(breaking())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames_THWC", "actions_T", "message"),
    [
        (np.zeros((3, 5, 6, 3), np.uint8), [0, 1, 2], r"shape \(5, 6, 3\)"),
        (np.zeros((3, 4, 6, 3), np.float32), [0, 1, 2], "float32"),
        (noise(3, 0), [0, 1], "with 3 frames"),
        (noise(3, 0), [0.0, 1.0, 2.0], "with 3 frames"),
        (noise(3, 0), [0, 1, 3], "no name"),
        (noise(3, 0), [0, 1, -1], "no name"),
        (noise(3, 0), None, "can't be mixed"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, frames_THWC: NDArray[np.uint8], actions_T: list[int] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message), writer(tmp_path / "d", action_names="abc") as out:
        out.add_episode(frames_THWC, actions_T)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": 5000},
        {"frames_per_second": 0.0},
        {"frames_per_second": float("nan")},
        {"held_out_fraction": 0.0},
        {"held_out_fraction": 0.6},
    ],
)
def test_impossible_settings_are_refused_before_the_work(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(DataError):
        writer(tmp_path / "d", **wrong)


def test_no_room_is_noticed_before_the_work(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="MB more needed") as caught,
        writer(tmp_path / "d", expected_frames=10**15),
    ):
        pass
    assert "free" in caught.value.what
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no room for the footage"), writer(tmp_path / "d") as out:
        out.add_episode(noise(20, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_write_to_a_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as device:
        monkeypatch.setattr(Path, "open", lambda *_: device)
        file = shard.HashedFile(tmp_path / "footage" / "x")
        with pytest.raises(DataError, match=r"no room for the footage in .*: 0.0 MB more needed, .* free"):
            file.write(b"abc")


KILLED = """
import sys, time, numpy as np
from pathlib import Path
from terrarium.data.writer import DatasetWriter
with DatasetWriter(Path(sys.argv[1]), height=4, width=6, frames_per_second=None, source="x") as out:
    out.add_episode(np.zeros((20, 4, 6, 3), np.uint8))
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("how", "left"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)])
def test_an_interrupt_cleans_up_and_the_next_writer_sweeps_after_a_kill(
    tmp_path: Path, how: signal.Signals, left: int
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        with contextlib.suppress(InterruptedError), writer(tmp_path / "d"):
            assert len(list(tmp_path.iterdir())) == 2, "a living writer's work is not swept away"
            raise InterruptedError
        process.send_signal(how)
    assert len(list(tmp_path.iterdir())) == left
    with writer(tmp_path / "d") as out:
        out.add_episode(noise(20, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
