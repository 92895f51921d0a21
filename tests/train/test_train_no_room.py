"""What a process of several says when it found no room."""

from __future__ import annotations

from pathlib import Path

import pytest

from terrarium.errors import OutOfMemoryError
from terrarium.run.folder import StageFolder
from terrarium.train.no_room import leave_note, take_notes
from tiny_training import make_folder

NO_ROOM = OutOfMemoryError("no room for a micro-batch of 2 clips", "Raise gradient_accumulation.")


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return make_folder(tmp_path, "video_tokenizer")


def test_a_note_is_read_once(folder: StageFolder) -> None:
    leave_note(folder, 1, 3, NO_ROOM)
    (note,) = take_notes(folder)
    assert note.clips == 3
    assert (note.error.what, note.error.next_step) == (NO_ROOM.what, NO_ROOM.next_step)
    assert take_notes(folder) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"clips": "many", "what": "", "next_step": ""}'])
def test_a_note_that_cant_be_read_counts_for_nothing(folder: StageFolder, content: str) -> None:
    (folder.path / "no-room-rank2.json").write_text(content)
    assert take_notes(folder) == []
    assert not list(folder.path.glob("no-room*"))
