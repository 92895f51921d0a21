"""The history of a stage: one row per optimizer step, and the rows that a resume took back.

`history.jsonl` holds whole lines whose steps only grow. `history.discarded.jsonl` holds what was moved out of
it: rows beyond the checkpoint that a resume started from, and lines torn by a kill. Whenever a kill comes, a
row is in exactly one of the two: see `History.take_back`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import StageFolder
from terrarium.run.rows import (
    MAX_LINE_BYTES,
    MAX_STEP,
    Row,
    Scalar,
    clean_row,
    parse_row,
    read_lines,
    step_of,
)

_MEND = "Free some space, or check who may write there; then resume"


class History:
    """The history of a stage, open for appending. Only the holder of the run's lock opens one.

    Opening it repairs what a kill left: an unfinished `take_back` is undone, and lines that are not rows, or
    rows superseded by a later row of the same or an earlier step, are moved to the discarded ones.

    Args:
        stage: the stage; its folder is made if missing.

    Raises:
        RunError: the history can't be read or written.

    Attributes:
        last_step: the step of the last row, -1 if there is none.
        last_runtime: its `runtime` in seconds, 0.0 if there is none.
    """

    def __init__(self, stage: StageFolder) -> None:
        stage.create()
        self._path, self._discarded_path = stage.history_path, stage.discarded_path
        self._journal_path = stage.path / ".history.take_back.json"
        self._descriptor = -1
        self.last_step = -1
        self.last_runtime = 0.0
        try:
            self._undo_unfinished()
            self._end_last_line()
            self._mend()
        except OSError as error:
            raise RunError(f"{self._path} can't be opened: {disk.why(error)}", _MEND) from error

    def append(self, row: Mapping[str, Scalar]) -> None:
        """Write one whole line straight to the system, so that a kill of this process loses nothing.

        Args:
            row: `step` (an integer greater than the last), `runtime` (seconds) and what was measured. NaN and
                infinities become null, with `<key>_text` holding "nan", "inf" or "-inf".

        Raises:
            RunError: the step is not greater than the last, a value is not a scalar, or the disk can't be
                written; the file is then unchanged.
        """
        clean = clean_row(row)
        step = clean["step"]
        if not isinstance(step, int) or not self.last_step < step < MAX_STEP:
            raise RunError(f"step {step!r} can't follow step {self.last_step} in {self._path}")
        line = disk.dump_json(clean)
        if len(line) > MAX_LINE_BYTES:
            raise RunError(f"the row of step {step} has {len(line)} bytes; {MAX_LINE_BYTES} are allowed")
        self._write(line)
        self._remember(clean)

    def take_back(self, after_step: int, reason: str) -> int:
        """Move the rows whose step is greater than `after_step` to `history.discarded.jsonl`.

        Each gets `reason` and `discarded_at`. A kill at any moment neither loses nor duplicates a row: first
        a small journal with the sizes of both files is written; then the rows are added to the discarded
        ones; then the history is replaced by one rename; then the journal is removed. If the history still
        has its old size when it is opened and there is a journal, the addition is undone, and `take_back` can
        be called again.

        Returns:
            The number of rows moved.

        Raises:
            RunError: the disk can't be written.
        """
        kept: list[bytes] = []
        moved: list[dict[str, object]] = []
        for line in read_lines(self._path):
            row = parse_row(line)
            if row is not None and step_of(row) <= after_step:
                kept.append(line)
            else:
                moved.append(dict(row) if row is not None else _torn(line))
        try:
            self._move(kept, moved, reason)
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next opening undoes it
                self._undo_unfinished()
            raise RunError(f"{self._path} can't be rewritten: {disk.why(error)}", _MEND) from error
        return len(moved)

    def sync(self) -> None:
        """Wait until every row is on the disk. To be called before a checkpoint is committed.

        Raises:
            RunError: the disk can't be written.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise RunError(f"{self._path} can't be written: {disk.why(error)}", _MEND) from error

    def close(self) -> None:
        """Close the file. Nothing is buffered: each row was written when it was appended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        size = None
        try:
            size = os.fstat(self._descriptor).st_size
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes found room on the disk")
        except OSError as error:
            if size is not None:
                with contextlib.suppress(OSError):  # else the next opening mends it
                    os.ftruncate(self._descriptor, size)  # a half line would swallow the next one
            raise RunError(
                f"a row can't be added to {self._path}: {disk.why(error)}", "Free some space and resume"
            ) from error

    def _end_last_line(self) -> None:
        """End a line that a kill left unfinished, or the next row would be glued to it."""
        if disk.is_torn(self._path):
            disk.append_durably(self._path, b"\n")

    def _mend(self) -> None:
        """Keep only whole rows with growing steps, and get ready to append after the last one."""
        kept: list[tuple[bytes, Row]] = []
        moved: list[dict[str, object]] = []
        for line in read_lines(self._path):
            row = parse_row(line)
            if row is None:
                moved.append(_torn(line))
                continue
            while kept and step_of(kept[-1][1]) >= step_of(row):
                moved.append(dict(kept.pop()[1]))
            kept.append((line, row))
        self._move([line for line, _ in kept], moved, "torn or superseded, found when the history was opened")

    def _move(self, kept: list[bytes], moved: list[dict[str, object]], reason: str) -> None:
        if moved:
            note = {"reason": reason, "discarded_at": disk.now()}
            self._begin_move()
            disk.append_durably(
                self._discarded_path, b"".join(disk.dump_json({**row, **note}) for row in moved)
            )
            disk.failpoint("take_back:discarded")
            disk.write_atomically(self._path, b"".join(line + b"\n" for line in kept))
            disk.failpoint("take_back:history")
            self._journal_path.unlink()
            disk.sync_folder(self._path.parent)
        self._reopen(kept)

    def _begin_move(self) -> None:
        sizes = {"history_size": _size(self._path), "discarded_size": _size(self._discarded_path)}
        disk.write_atomically(self._journal_path, disk.dump_json(sizes))
        disk.failpoint("take_back:journal")

    def _undo_unfinished(self) -> None:
        for leftover in self._path.parent.glob(".history.*.tmp"):
            leftover.unlink()
        try:
            journal = disk.parse_json(disk.read_bounded(self._journal_path, MAX_LINE_BYTES))
        except FileNotFoundError:
            return
        except ValueError:
            journal = None  # it was written atomically, so the disk damaged it: nothing to go by
        # A move always shrinks the history, so the old size means that the rename has not happened yet.
        if isinstance(journal, dict) and journal.get("history_size") == _size(self._path):
            size = journal.get("discarded_size")
            if isinstance(size, int) and 0 <= size < _size(self._discarded_path):
                os.truncate(self._discarded_path, size)
        self._journal_path.unlink()

    def _reopen(self, kept: list[bytes]) -> None:
        self.close()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.last_step, self.last_runtime = -1, 0.0
        last = parse_row(kept[-1]) if kept else None
        if last is not None:
            self._remember(last)

    def _remember(self, row: Row) -> None:
        self.last_step = step_of(row)
        runtime = row.get("runtime")
        if isinstance(runtime, int | float):
            self.last_runtime = float(runtime)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _torn(line: bytes) -> dict[str, object]:
    return {"torn": line.decode("utf-8", errors="backslashreplace")}
