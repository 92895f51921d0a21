"""What a process that found no room in the midst of a step leaves for the next start to read.

The others wait for it in that step and learn of it by its end: nothing can be agreed upon any more. So the
launcher starts all of them again, and before the next step the batches are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from terrarium.errors import OutOfMemoryError, RunError
from terrarium.run.folder import StageFolder, read_json, write_json

PREFIX = "no-room-rank"


@dataclass(frozen=True)
class NoRoom:
    """What there was no room for.

    Attributes:
        clips: of a micro-batch that were this process's share.
        error: in words, and what to do about it.
    """

    clips: int
    error: OutOfMemoryError


def leave_note(folder: StageFolder, rank: int, clips: int, error: OutOfMemoryError) -> None:
    """Say to the next start that this process had no room for so many clips.

    Raises:
        RunError: it can't be written.
    """
    note = {"format": 1, "clips": clips, "what": error.what, "next_step": error.next_step}
    write_json(folder.path / f"{PREFIX}{rank}.json", note)


def take_notes(folder: StageFolder) -> list[NoRoom]:
    """The notes of all processes; they are gone then, and so are those that can't be read."""
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
