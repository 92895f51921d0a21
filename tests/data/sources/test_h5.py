from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video_samples import scene

from terrarium.data.sources import h5 as h5_source
from terrarium.data.sources.video import ingest
from terrarium.errors import DataError, MissingExtraError

h5py: Any = pytest.importorskip("h5py")


def test_tinyworlds_frames_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5_source, "BLOCK_BYTES", 10 * 48 * 64 * 3)
    frames_NHWC = np.stack(scene(0, 45) + scene(1, 38))
    with h5py.File(tmp_path / "zelda_frames.h5", "w") as file:
        file.create_dataset("frames", data=frames_NHWC, compression="lzf")
    dataset = ingest([tmp_path / "zelda_frames.h5"], tmp_path / "out", size=(48, 64)).dataset
    episodes = sorted((*dataset.train, *dataset.held_out), key=lambda episode: episode.index)
    assert np.array_equal(np.concatenate([episode.frames_THWC for episode in episodes]), frames_NHWC)
    assert 45 in np.cumsum([len(episode) for episode in episodes]), "cut at the change of scene"
    assert dataset.frames_per_second is None


def test_frames_are_resized(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = np.full((20, 128, 128, 1), 7, np.uint8)
    dataset = ingest([tmp_path], tmp_path / "out").dataset
    assert dataset.train[0].frames_THWC.shape[1:] == (64, 64, 3)
    assert (np.asarray(dataset.train[0].frames_THWC) == 7).all()


def soft_link(file: Any) -> None:
    file["elsewhere"] = np.zeros((20, 8, 8, 3), np.uint8)
    file["frames"] = h5py.SoftLink("/elsewhere")


def external_link(file: Any) -> None:
    file["frames"] = h5py.ExternalLink("secret.h5", "/frames")


def external_storage(file: Any) -> None:
    file.create_dataset("frames", (20, 8, 8, 3), np.uint8, external=[("secret.h5", 0, 3840)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((20, 8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource("secret.h5", "frames", (20, 8, 8, 3))
    file.create_virtual_dataset("frames", layout)


def group(file: Any) -> None:
    file.create_group("frames")


def objects(file: Any) -> None:
    file.create_dataset("frames", (20, 8, 8, 3), h5py.string_dtype())


def floats(file: Any) -> None:
    file["frames"] = np.zeros((20, 8, 8, 3), np.float32)


def flat(file: Any) -> None:
    file["frames"] = np.zeros((20, 8, 8), np.uint8)


def no_frames(file: Any) -> None:
    file["frames"] = np.zeros((0, 8, 8, 3), np.uint8)


def endless(file: Any) -> None:
    file.create_dataset("frames", (1 << 40, 8, 8, 3), np.uint8, chunks=(1, 8, 8, 3))


def wide(file: Any) -> None:
    file.create_dataset("frames", (20, 1 << 20, 1 << 20, 3), np.uint8, chunks=(1, 8, 8, 3))


def bomb(file: Any) -> None:
    file.create_dataset("frames", (1 << 20, 64, 64, 3), np.uint8, chunks=(1 << 18, 64, 64, 3), compression=9)


def unnamed(file: Any) -> None:
    file["pictures"] = np.zeros((20, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (soft_link, "a link"),
        (external_link, "a link"),
        (external_storage, "another file"),
        (virtual, "another file"),
        (group, "a group"),
        (objects, "not uint8"),
        (floats, "not uint8"),
        (flat, "not uint8 of N H W 3"),
        (no_frames, "no frames"),
        (endless, "too large"),
        (wide, "too large"),
        (bomb, "too large"),
        (unnamed, 'no dataset "frames"'),
    ],
)
def test_what_is_not_plain_footage_is_refused(tmp_path: Path, make: Any, reason: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["frames"] = np.zeros((20, 8, 8, 3), np.uint8)
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        make(file)
    with pytest.raises(DataError, match=reason):
        ingest([tmp_path / "bad.h5"], tmp_path / "out")


def test_a_damaged_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = np.zeros((200, 64, 64, 3), np.uint8)
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    report = ingest([tmp_path], tmp_path / "out")
    assert [kept.path.name for kept in report.kept] == ["a.h5"]
    assert {path.name for path, _ in report.skipped} == {"text.h5", "cut.h5"}


def test_the_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[h5\]'"):
        ingest([tmp_path / "a.h5"], tmp_path / "out")
