from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import LENGTHS, noise, store_noise, turns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terrarium.data.dataset import Dataset
from terrarium.data.index import parse_index
from terrarium.errors import DataError


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return store_noise(tmp_path / "footage")


def test_what_was_written_is_read(footage: Path) -> None:
    dataset = Dataset.open(footage)
    episodes = sorted((*dataset.train, *dataset.held_out), key=lambda episode: episode.index)
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    for seed, episode in enumerate(episodes):
        assert episode.source == str(seed)
        assert np.array_equal(episode.frames_THWC, noise(len(episode), seed))
        assert episode.actions_T is not None
        assert np.array_equal(episode.actions_T, turns(len(episode), seed))
    assert (dataset.height, dataset.width, dataset.frames_per_second) == (4, 6, 10)
    assert (dataset.n_actions, dataset.action_names) == (3, ("stay", "left", "right"))
    assert len(list(footage.glob("frames-*.u8"))) > 1, "several shards were meant to be tested"


def test_frames_are_mapped_and_read_only(footage: Path) -> None:
    frames_THWC = Dataset.open(footage).train[0].frames_THWC
    assert isinstance(frames_THWC, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames_THWC[0] = 0


def test_splits_share_no_frame(footage: Path) -> None:
    dataset = Dataset.open(footage)
    held_out = {episode.index for episode in dataset.held_out}
    assert held_out
    assert held_out.isdisjoint(episode.index for episode in dataset.train)
    assert len(dataset.train) + len(dataset.held_out) == len(LENGTHS)


def test_actions_are_only_touched_when_asked_for(footage: Path) -> None:
    for file in footage.glob("actions-*.i64"):
        file.unlink()
    dataset = Dataset.open(footage)
    episode = dataset.train[0]
    assert episode.frames_THWC.sum() > 0
    with pytest.raises(DataError, match=r"actions-00000.i64 is missing"):
        _ = episode.actions_T


def test_impossible_actions_are_refused(footage: Path) -> None:
    for file in footage.glob("actions-*.i64"):
        file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(DataError, match="an action outside 0-2"):
        _ = Dataset.open(footage).train[0].actions_T


def test_description_is_one_line(footage: Path) -> None:
    line = Dataset.open(footage).describe()
    assert "\n" not in line
    assert "213 frames of 4x6 at 10 frames/s" in line
    assert "3 true actions" in line


def no_folder(path: Path) -> None:
    shutil.rmtree(path)


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


def no_index(path: Path) -> None:
    (path / "dataset.json").unlink()


def linked_index(path: Path) -> None:
    (path / "dataset.json").rename(path.parent / "elsewhere.json")
    (path / "dataset.json").symlink_to(path.parent / "elsewhere.json")


def linked_frames(path: Path) -> None:
    (path / "frames-00000.u8").rename(path.parent / "elsewhere.u8")
    (path / "frames-00000.u8").symlink_to(path.parent / "elsewhere.u8")


def no_frames(path: Path) -> None:
    (path / "frames-00001.u8").unlink()


def short_frames(path: Path) -> None:
    file = path / "frames-00000.u8"
    file.write_bytes(file.read_bytes()[:-1])


def newer_format(path: Path) -> None:
    edit(path, lambda index: index.update(format=2, something_new=True))


def edited(path: Path) -> None:
    edit(path, lambda index: index.update(source="another game"))


def half_an_index(path: Path) -> None:
    file = path / "dataset.json"
    file.write_bytes(file.read_bytes()[:300])


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    index = json.loads((path / "dataset.json").read_text())
    change(index)
    (path / "dataset.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_folder, "doesn't exist"),
        (a_file, "is not a folder"),
        (no_index, "is not a dataset"),
        (linked_index, "is not a dataset"),
        (linked_frames, "frames-00000.u8 is missing"),
        (no_frames, "frames-00001.u8 is missing"),
        (short_frames, "bytes where"),
        (newer_format, "format 2, this Terrarium reads up to 1"),
        (edited, "fingerprint"),
        (half_an_index, "damaged"),
    ],
)
def test_damage_is_named(footage: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(footage)
    with pytest.raises(DataError, match=message) as caught:
        Dataset.open(footage)
    assert "footage" in caught.value.what
    assert caught.value.next_step


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../frames-00000.u8", "/etc/passwd", "frames-00000.u8\n", "frames-٠٠٠٠٠.u8"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_index_is_an_error_or_the_same_dataset(footage: Path, data: st.DataObject) -> None:
    """Any value anywhere replaced or removed: an error in our words, or nothing has changed at all."""
    text = (footage / "dataset.json").read_bytes()
    index = json.loads(text)
    node: Any = index
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else list(range(len(node)))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    if data.draw(st.booleans()):
        node[key] = data.draw(LEAVES)
    else:
        del node[key]
    try:
        found = parse_index(json.dumps(index).encode(), "dataset.json")
    except DataError:
        return
    assert found == parse_index(text, "dataset.json")


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_error(content: bytes) -> None:
    with pytest.raises(DataError):
        parse_index(content, "dataset.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["episodes"][1].update(start=index["episodes"][0]["start"] + 1),
        lambda index: index["episodes"][0].update(frames=10**6),
        lambda index: index["episodes"][0].update(shard=99),
        lambda index: index["shards"][0].update(file="../frames-00000.u8"),
        lambda index: index["shards"][1].update(file="frames-00000.u8"),
        lambda index: index["shards"][0].update(actions=None),
        lambda index: [episode.update(held_out=False) for episode in index["episodes"]],
    ],
)
def test_contradictions_are_found_before_the_fingerprint(
    footage: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """A forger can make a fingerprint too; what it stands for must still fit together."""
    edit(footage, change)
    with pytest.raises(DataError, match="damaged") as caught:
        Dataset.open(footage)
    assert "fingerprint" not in caught.value.what


def test_more_files_than_a_process_may_open(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(DataError, match=r"frames-00000\.u8 can't be read: Too many open files\. .*ulimit -n"):
        Dataset.open(footage)
