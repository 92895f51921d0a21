"""Whatever goes wrong in one of several processes: nobody hangs, and all know why they leave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from terrarium.data.dataset import Dataset
from terrarium.run.folder import RunFolder
from terrarium.run.survey import newest_valid

SCRIPT = Path(__file__).with_name("mishaps.py")
LOST = "RankLostError: another of the processes that train together is gone"


@pytest.fixture(scope="module")
def out(footage: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes met all mishaps, one after the other."""
    path = tmp_path_factory.mktemp("mishaps")
    words = [sys.executable, str(SCRIPT), str(footage.path), str(path)]
    subprocess.run(words, check=True, timeout=120)
    return path


def ends(out: Path, mishap: str) -> list[str]:
    """How it ended for each of the two."""
    return [(out / f"{mishap}-{rank}.txt").read_text() for rank in range(2)]


@pytest.mark.parametrize(
    ("mishap", "first", "second"),
    [
        ("full_disk", "CheckpointError: the disk is full", "CheckpointError: the disk is full"),
        ("full_disk_and_no_number", "NotFiniteError: video_tokenizer: the loss", "NotFiniteError: video_tok"),
        ("disk_full_once", "trained", "trained"),
        ("part_unwritten", "CheckpointError: process 1 can't", "CheckpointError: process 1 can't"),
        ("bad_footage", LOST, "DataError: episode-000003.npy can't be read"),
        ("no_picture", "RunError: the picture can't be written", LOST),
        (
            "one_is_asked",
            "RankLostError: another process was asked to stop at step 3",
            "Interrupted: SIGTERM",
        ),
    ],
)
def test_nobody_hangs_and_all_know_why(out: Path, mishap: str, first: str, second: str) -> None:
    ended = ends(out, mishap)
    assert ended[0].startswith(first)
    assert ended[1].startswith(second)


def test_what_was_reached_is_kept(out: Path) -> None:
    reached = {"disk_full_once": 6, "one_is_asked": 3}
    for mishap, step in reached.items():
        newest = newest_valid(RunFolder.open(out / mishap).stage("video_tokenizer"))[0]
        assert newest is not None
        assert newest.name == f"video_tokenizer_step_{step}"


def test_nothing_half_written_is_left(out: Path) -> None:
    for mishap in ("full_disk", "disk_full_once", "part_unwritten"):
        checkpoints = RunFolder.open(out / mishap).stage("video_tokenizer").checkpoints_path
        assert not [entry.name for entry in checkpoints.iterdir() if entry.name.startswith(".")]
