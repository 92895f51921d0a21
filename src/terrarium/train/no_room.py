"""The note that one of several processes leaves when it runs out of memory in the middle of a step.

The others are waiting for it inside that step, so the processes can't agree on anything any more: this one
exits, the launcher restarts all of them, and they read the note and cut the batches before the next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from terrarium.errors import OutOfMemoryError, RunError
from terrarium.run.folder import StageFolder, read_json, write_json

PREFIX = "no-room-rank"


@dataclass(frozen=True)
class NoRoom:
    """One such note.

    Attributes:
        clips: how many clips of a micro-batch the process had to compute.
        error: the error that it met.
    """

    clips: int
    error: OutOfMemoryError


def leave_note(folder: StageFolder, rank: int, clips: int, error: OutOfMemoryError) -> None:
    """Tell the next start that this process had no memory for so many clips.

    Raises:
        RunError: the note can't be written.
    """
    note = {"format": 1, "clips": clips, "what": error.what, "next_step": error.next_step}
    write_json(folder.path / f"{PREFIX}{rank}.json", note)


def take_notes(folder: StageFolder) -> list[NoRoom]:
    """Read the notes of all processes and delete them; a note that can't be read counts for nothing."""
    paths = sorted(folder.path.glob(f"{PREFIX}*.json"))
    notes = [note for path in paths if (note := _read(path)) is not None]
    for path in paths:
        path.unlink(missing_ok=True)
    return notes


def _read(path: Path) -> NoRoom | None:
    try:
        tree = read_json(path)
    except RunError:
        return None
    match tree:
        case {"clips": int(clips), "what": str(what), "next_step": str(next_step)}:
            return NoRoom(clips, OutOfMemoryError(what, next_step))
    return None
