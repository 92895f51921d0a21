from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from video_samples import jpeg, scene, turn, write_packets, write_video

from terrarium.data.dataset import Dataset, Episode
from terrarium.data.sources import decode
from terrarium.data.sources.video import IngestReport, ingest
from terrarium.errors import DataError


def everything(dataset: Dataset) -> list[Episode]:
    return sorted((*dataset.train, *dataset.held_out), key=lambda episode: episode.index)


def reasons(report: IngestReport) -> dict[str, str]:
    return {path.name: reason for path, reason in report.skipped}


def test_a_video_becomes_frames_of_the_size_and_rate_asked_for(tmp_path: Path) -> None:
    shots = scene(0, 91)
    write_video(tmp_path / "a.mp4", shots)
    report = ingest([tmp_path / "a.mp4"], tmp_path / "out", size=(24, 32), frames_per_second=10)
    assert [str(kept) for kept in report.kept] == [f"{tmp_path / 'a.mp4'}: 31 frames in 1 episodes"]
    assert report.skipped == []
    dataset = report.dataset
    assert (dataset.height, dataset.width, dataset.frames_per_second) == (24, 32, 10)
    assert (dataset.action_names, dataset.n_actions) == (None, None)
    frames_THWC = np.concatenate([episode.frames_THWC for episode in everything(dataset)])
    for number, frame_HWC in enumerate(frames_THWC):
        truth = shots[3 * number].reshape(24, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(frame_HWC - truth).mean() < 12, "the right moment, the right way up, the right colours"


def test_uneven_times_are_followed(tmp_path: Path) -> None:
    """A picture every 20 to 180 ms: what is shown at each tenth of a second is what the times say."""
    generator = np.random.default_rng(0)
    times = [0, *np.cumsum(generator.integers(20, 180, 79)).tolist()]
    shots = scene(0, 80)
    write_video(tmp_path / "uneven.mkv", shots, milliseconds=times)
    dataset = ingest([tmp_path / "uneven.mkv"], tmp_path / "out", size=(48, 64)).dataset
    frames_THWC = np.concatenate([episode.frames_THWC for episode in everything(dataset)])
    assert len(frames_THWC) == times[-1] // 100 + 1
    for number, frame_HWC in enumerate(frames_THWC):
        shown = max(place for place, time in enumerate(times) if time <= number * 100)
        nearby = shots[max(shown - 3, 0) : shown + 4]
        errors = [np.abs(frame_HWC.astype(int) - shot).mean() for shot in nearby]
        assert int(np.argmin(errors)) == min(shown, 3)


def test_scenes_become_episodes_and_short_ones_are_dropped(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", scene(0, 40) + scene(1, 30) + scene(2, 10) + scene(3, 50), rate=10)
    dataset = ingest([tmp_path / "a.mkv"], tmp_path / "out", max_episode_frames=40).dataset
    lengths = [len(episode) for episode in everything(dataset)]
    assert sum(lengths) == 40 + 30 + 40
    assert max(lengths) <= 40


def test_damaged_files_are_skipped_by_name_and_the_rest_kept(tmp_path: Path) -> None:
    folder = tmp_path / "videos" / "deep"
    folder.mkdir(parents=True)
    whole = write_video(folder / "good.mp4", scene(0, 60)).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("not a video at all\n" * 100)
    (folder / "empty.avi").write_bytes(b"")
    (folder / "frameless.mkv").write_bytes(write_video(tmp_path / "n.mkv", []).read_bytes())
    write_video(folder / "short.mkv", scene(0, 10))
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mp4\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    (folder / "notes.txt").write_text("left alone")
    (tmp_path / "bare").mkdir()
    report = ingest([tmp_path / "videos", tmp_path / "nowhere.mp4", tmp_path / "bare"], tmp_path / "out")
    assert [kept.path.name for kept in report.kept] == ["good.mp4"]
    assert {episode.source for episode in everything(report.dataset)} == {"good.mp4"}
    found = reasons(report)
    assert found.keys() == {
        "truncated.mp4", "text.mp4", "empty.avi", "frameless.mkv", "short.mkv",
        "playlist.mp4", "concat.mp4", "nowhere.mp4", "bare",
    }  # fmt: skip
    assert "fewer than 16" in found["short.mkv"]
    assert "doesn't exist" in found["nowhere.mp4"]
    assert "no video files" in found["bare"]


def test_footage_is_called_after_the_files_that_it_is_of(tmp_path: Path) -> None:
    for number in range(5):
        write_video(tmp_path / f"{number}.mp4", scene(0, 60 if number % 2 else 3))
    Image.fromarray(scene(0, 1)[0]).save(tmp_path / "picture.png")
    report = ingest([tmp_path, tmp_path / "picture.png"], tmp_path / "out")
    assert report.dataset.source == "1.mp4, 3.mp4"
    assert "pixels" not in reasons(report)["picture.png"]


def test_a_file_that_breaks_off_keeps_what_was_decoded_and_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", scene(0, 300)).read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "whole.mkv").unlink()
    (kept,) = ingest([tmp_path], tmp_path / "out").kept
    assert 30 < kept.frames < 70
    assert "it ends after" in kept.note
    assert "of 10.0 seconds" in str(kept)


def test_noise_in_the_middle_is_survived(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the decoder makes of it: some frames or a reason, never a traceback or FFmpeg's own noise."""
    whole = bytearray(write_video(tmp_path / "whole.avi", scene(0, 200)).read_bytes())
    generator = np.random.default_rng(0)
    for number in range(8):
        spoiled = whole.copy()
        for place in generator.integers(200, len(whole), 300):
            spoiled[place] = generator.integers(256)
        (tmp_path / f"spoiled{number}.avi").write_bytes(spoiled)
    report = ingest([tmp_path], tmp_path / "out")
    assert len(report.kept) + len(report.skipped) == 9
    assert capfd.readouterr() == ("", "")


def test_nothing_usable_is_one_error_with_every_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(DataError) as caught:
        ingest([tmp_path / "text.mp4", tmp_path / "nowhere"], tmp_path / "out")
    assert "text.mp4 (Invalid data" in caught.value.what
    assert "nowhere (it doesn't exist)" in caught.value.what
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="no files were given"):
        ingest([], tmp_path / "out")


def test_huge_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "big.mkv", scene(0, 30))
    monkeypatch.setattr(decode, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match=r"big\.mkv"):
        ingest([tmp_path], tmp_path / "out")


def all_frames(path: Path, out: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    episodes = everything(ingest([path], out, size=size, frames_per_second=10).dataset)
    return np.concatenate([episode.frames_THWC for episode in episodes])


@pytest.mark.parametrize(
    ("matrix", "turns", "mirrored"),
    [
        ((1, 0, 0, 1), 0, False),
        ((0, 1, -1, 0), -1, False),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), 2, False),
        ((0, -1, 1, 0), 1, False),
        ((-1, 0, 0, 1), 0, True),  # the camera that looks at its owner
        ((0, 1, 1, 0), -1, True),
    ],
)
def test_footage_is_stored_as_a_player_shows_it(
    matrix: tuple[int, int, int, int], turns: int, mirrored: bool, tmp_path: Path
) -> None:
    shots = scene(0, 40)
    path = turn(write_video(tmp_path / "phone.mp4", shots, rate=10), *matrix)
    shown = [np.rot90(shot, turns)[:, :: -1 if mirrored else 1] for shot in shots]
    height, width, _ = shown[0].shape
    frames_THWC = all_frames(path, tmp_path / "out", (height, width))
    assert len(frames_THWC) == 40
    for frame_HWC, truth in zip(frames_THWC.astype(int), shown, strict=True):
        assert np.abs(frame_HWC - truth).mean() < 12


@pytest.mark.parametrize(("rate", "repeats"), [(10, False), (30, False), (90, True)])
def test_a_rate_above_a_videos_own_is_told(rate: int, repeats: bool, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", scene(0, 60), rate=30)
    (kept,) = ingest([tmp_path / "a.mp4"], tmp_path / "out", frames_per_second=rate).kept
    assert ("it shows 30 pictures a second: at a rate of 90 many frames repeat" in str(kept)) == repeats


def test_pictures_that_change_their_size_midway_are_taken(tmp_path: Path) -> None:
    path = write_packets(tmp_path / "grows.mkv", [jpeg(48, 64)] * 20 + [jpeg(96, 80)] * 20)
    frames_THWC = all_frames(path, tmp_path / "out", (24, 32))
    assert frames_THWC.shape == (40, 24, 32, 3)
    assert np.ptp(frames_THWC) <= 2


def test_pictures_that_grow_huge_midway_are_not_even_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 512 * 512)
    decoded: list[int] = []
    monkeypatch.setattr(decode, "_check_size", lambda width, height: decoded.append(width * height))
    path = write_packets(tmp_path / "grows.mkv", [jpeg(48, 64)] * 30 + [jpeg(520, 520)] + [jpeg(48, 64)] * 9)
    (kept,) = ingest([path], tmp_path / "out").kept
    assert 20 <= kept.frames <= 30
    assert "more than 262144 pixels" in kept.note
    assert max(decoded) == 48 * 64


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        ingest([tmp_path / "pipe.mp4"], tmp_path / "out")


def test_equal_seeds_give_equal_fingerprints(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", scene(0, 100) + scene(1, 100))
    first, second = (ingest([tmp_path], tmp_path / name, seed=4).dataset for name in ("x", "y"))
    assert first.fingerprint == second.fingerprint


def test_progress_counts_bytes_up_to_all_of_them(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", scene(0, 300))
    (tmp_path / "b.mp4").write_text("text")
    told: list[tuple[int, int]] = []
    ingest([tmp_path], tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert {total for _, total in told} == {sum(file.stat().st_size for file in tmp_path.glob("?.*"))}
    assert told[-1][0] == (tmp_path / "a.mkv").stat().st_size


@pytest.mark.parametrize("wrong", [{"frames_per_second": 0.0}, {"size": (0, 64)}, {"max_episode_frames": 3}])
def test_impossible_settings(tmp_path: Path, wrong: dict[str, object]) -> None:
    write_video(tmp_path / "a.mkv", scene(0, 60))
    with pytest.raises(DataError):
        ingest([tmp_path], tmp_path / "out", **wrong)  # type: ignore[arg-type]
