"""A history of any format, told by its content: the one way in which the doctor reads what others logged."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers import tensorboard, trackio, wandb_log
from terrarium.doctor.readers.columns import recognise_stages
from terrarium.doctor.readers.csv_rows import looks_like_header, read_csv
from terrarium.doctor.readers.facts import Facts
from terrarium.doctor.readers.json_rows import read_json
from terrarium.doctor.readers.jsonl import read_json_lines, row_of
from terrarium.doctor.readers.names import recognise
from terrarium.doctor.readers.table import Table
from terrarium.doctor.readers.text_lines import blocks, lines, open_text
from terrarium.run import disk

BLOCK = 2**22
HEAD_LINES = 20
MEASURES = ("loss", "validation_loss", "accuracy", "learning_rate", "grad_norm")
"""A text file that holds none of these, nor a step, is no history."""

_NOTHING: Mapping[str, str] = {}
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv"}


@dataclass(frozen=True, eq=False)
class HistoryFile:
    """What one file, or one folder of event files, tells of one stage of one run.

    Attributes:
        path: the file or folder.
        format: "wandb", "tensorboard", "trackio", "csv", "json", "jsonl"; "" where it is none of them.
        history: its rows; None where there are none, and `reason` says why.
        reason: code of why there is no history, a key of `[why]` in the language files: "absent",
            "no-permission", "unreadable", "no-file" (a pipe, a link, a folder without event files), "empty",
            "no-history" (nothing in it is a history), "no-rows" (it has the format, but no row could be
            read); "" where there is one.
        detail: of the reason, from the file or the system: to be escaped when shown.
        damaged: lines or records that could not be read; in `history` too.
        run: the run's id or name, where the format has one.
        config: the training's configuration, where the format carries it.
        summary: last values that the logger kept itself.
        names: our name of a column -> the file's.
        steps_from: "step", or "epoch" or "row" (the place in the file) where those stand in for it.
        runtime_from: "runtime", "timestamp" where it was derived from one, "" where there is neither.
        last_time: when the last row was logged, seconds since 1970; None where unknown.
    """

    path: Path
    format: str = ""
    history: History | None = None
    reason: str = ""
    detail: str = ""
    damaged: int = 0
    run: str = ""
    config: JsonObject = field(default_factory=dict)
    summary: JsonObject = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    steps_from: str = ""
    runtime_from: str = ""
    last_time: float | None = None


def read(path: Path, mapping: Mapping[str, str] = _NOTHING) -> dict[str, HistoryFile]:
    """Read the histories that a file holds, as far as it can be read; nothing in it raises.

    Args:
        path: a file, or a folder whose event files are joined in the order of time.
        mapping: our name of a column -> the file's; it wins over what is recognised.

    Returns:
        stage -> its history. The stage is "" where the file speaks of none, as most do; the run's name where
        a file holds several runs; `run/stage` where it holds several stages of several runs. Where nothing
        could be read, "" -> the reason.
    """
    try:
        found = format_of(path)
        if not found:
            return {"": HistoryFile(path, reason="empty" if _is_empty(path) else "no-history")}
        return _READERS[found](path, found, mapping)
    except FileNotFoundError as error:
        return {"": HistoryFile(path, reason="absent", detail=disk.why(error))}
    except PermissionError as error:
        return {"": HistoryFile(path, reason="no-permission", detail=disk.why(error))}
    except OSError as error:
        reason = "no-file" if path.is_symlink() else "unreadable"
        return {"": HistoryFile(path, reason=reason, detail=disk.why(error))}
    except ValueError as error:
        return {"": HistoryFile(path, reason="no-file", detail=str(error))}


def format_of(path: Path) -> str:
    """The format of a file by its first bytes, and only where these are damaged by its name; "" for none.

    Raises:
        OSError: the file can't be opened or read.
        ValueError: it is not a regular file.
    """
    if path.is_dir():
        return "tensorboard" if tensorboard.event_files(path) else ""
    with os.fdopen(disk.open_regular(path), "rb") as file:
        head = file.read(64)
    if head.startswith(wandb_log.MAGIC) or (head and path.suffix == ".wandb"):
        return "wandb"
    if head.startswith(trackio.MAGIC):
        return "trackio"
    if tensorboard.is_event_file(head) or (head and tensorboard.EVENT_FILE in path.name):
        return "tensorboard"
    return _text_format(path)


def _text_format(path: Path) -> str:
    with open_text(path) as text:
        head = [
            line.strip("\ufeff \t\r\n")
            for _, line in zip(range(HEAD_LINES), lines(text, Table()), strict=False)
        ]
    head = [line for line in head if line]
    if not head:
        return ""
    rows = [row for row in map(row_of, head) if row]
    of_rows = any(recognise(name) and not isinstance(row[name], list | dict) for row in rows for name in row)
    if rows and of_rows and (len(rows) > 1 or path.suffix != ".json" or not head[0].endswith("]}")):
        return "jsonl"
    if head[0].startswith(("[", "{")):
        return "json"
    if looks_like_header(head[0]):
        return "csv"
    return _SUFFIXES.get(path.suffix.removesuffix(".gz").lower(), "")


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _read_text(path: Path, found: str, mapping: Mapping[str, str]) -> dict[str, HistoryFile]:
    table = Table(frozenset(mapping.values()))
    facts = Facts()
    with open_text(path) as text:
        if found == "json":
            facts.config = read_json(blocks(text, table, BLOCK), table)
        elif found == "csv":
            read_csv(lines(text, table), table)
        else:
            read_json_lines(lines(text, table), table)
    if not mapping and not any(known and known[0] in MEASURES for known in map(recognise, table.chunks)):
        reason = "no-rows" if found != "json" and table.damaged and not table.rows else "no-history"
        return {"": HistoryFile(path, found, reason=reason, damaged=table.damaged)}
    return _stages(path, found, table, mapping, facts)


def _read_wandb(path: Path, found: str, mapping: Mapping[str, str]) -> dict[str, HistoryFile]:
    table = Table(frozenset(mapping.values()))
    return _stages(path, found, table, mapping, wandb_log.read_wandb(path, table))


def _read_events(path: Path, found: str, mapping: Mapping[str, str]) -> dict[str, HistoryFile]:
    table = Table(frozenset(mapping.values()))
    paths = tensorboard.event_files(path) if path.is_dir() else [path]
    return _stages(path, found, table, mapping, tensorboard.read_events(paths, table))


def _read_trackio(path: Path, found: str, mapping: Mapping[str, str]) -> dict[str, HistoryFile]:
    files: dict[str, HistoryFile] = {}
    try:
        runs = trackio.read_runs(path, frozenset(mapping.values()))
    except sqlite3.Error as error:
        return {"": HistoryFile(path, found, reason="unreadable", detail=str(error))}
    for table, facts in runs:
        stages = _stages(path, found, table, mapping, facts)
        for stage, file in stages.items():
            several = "/".join(part for part in (facts.run, stage) if part)
            files[several if len(runs) > 1 else stage] = file
    return files or {"": HistoryFile(path, found, reason="no-history")}


def _stages(
    path: Path, found: str, table: Table, mapping: Mapping[str, str], facts: Facts
) -> dict[str, HistoryFile]:
    told = HistoryFile(
        path, found, None, "no-rows", "", table.damaged, facts.run, facts.config, facts.summary
    )
    if not table.rows:
        return {"": told}
    stages = recognise_stages(table, mapping, nan_may_fill=found in ("csv", "json", "jsonl"))
    return {
        stage: replace(
            told,
            history=known.history,
            reason="",
            names=known.names,
            steps_from=known.steps_from,
            runtime_from=known.runtime_from,
            last_time=known.last_time,
        )
        for stage, known in stages.items()
    }


_Reader = Callable[[Path, str, Mapping[str, str]], dict[str, HistoryFile]]
_READERS: dict[str, _Reader] = {
    "csv": _read_text,
    "json": _read_text,
    "jsonl": _read_text,
    "wandb": _read_wandb,
    "tensorboard": _read_events,
    "trackio": _read_trackio,
}
