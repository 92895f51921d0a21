"""Walking a stranger's tree: what lies in it that the doctor knows how to read, within bounds."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from terrarium.run import disk

DEEPEST = 6
MOST_ENTRIES = 50_000
MOST_OF_A_KIND = 1000
HEAD_BYTES = 2**16

STAGE_PARTS = ("checkpoints", "visualizations")
SAVED, SAVED_LOG = re.compile(r"checkpoint-\d{1,15}"), "trainer_state.json"
"""Folders that the Hugging Face trainer saves to, beside each other, and the log in each of them."""
CONFIG_SUFFIXES = (".yaml", ".yml", ".toml")
CONFIG_NAMES = ("config.json", "args.json", "training_args.json", "hparams.json")
TEXT_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
BINARY_HEADS = {".wandb": b":W&B", ".db": b"SQLite format 3", ".sqlite": b"SQLite format 3"}
NO_HISTORIES = re.compile(
    r"report\..*|scores\.json|gates\.jsonl|history\.discarded\.jsonl|config\.json|run\.json"
    r"|manifest\.json|state\.json"
)
"""What Terrarium itself writes, never to be taken for a history."""

_NOT_ENTERED = re.compile(r"\.(?!hydra$).*|node_modules|__pycache__|site-packages|datasets?|footage|media")
_COLUMN = rb"(?:[\w ./-]{0,80}[/_. ])?(?:loss|steps?|iter(?:ation)?|epoch)"
_KEYED = re.compile(rb'"' + _COLUMN + rb'"\s*:', re.IGNORECASE)
_ROWS_INSIDE = re.compile(rb'"\s*:\s*[\[{]\s*[\d{"-]|\}\s*\n\s*\{')
_HEADED = re.compile(rb'(?:^|[,;\t])\s*"?' + _COLUMN + rb'"?\s*(?:$|[,;\t\r])', re.IGNORECASE)


@dataclass
class Pieces:
    """What was found in a tree.

    Attributes:
        runs: run folders of ours (they hold a `run.json`); not entered.
        stage_folders: folders with `checkpoints/` or `visualizations/`.
        histories: files; of TensorBoard's event files the folder that holds them.
        configs: files that may hold a training configuration.
        cut_short: whether there was more than the bounds allow to look at.
    """

    runs: list[Path] = field(default_factory=list)
    stage_folders: list[Path] = field(default_factory=list)
    histories: list[Path] = field(default_factory=list)
    configs: list[Path] = field(default_factory=list)
    cut_short: bool = False

    def add(self, more: Pieces) -> None:
        """Add what was found elsewhere."""
        self.runs += more.runs
        self.stage_folders += more.stage_folders
        self.histories += more.histories
        self.configs += more.configs
        self.cut_short |= more.cut_short


def walk(top: Path) -> Pieces:
    """Look through a folder, nearest first; links are not followed, nor what can't be read.

    At most 50,000 entries in folders at most six below `top` are looked at.
    """
    pieces, waiting, left = Pieces(), deque([(top, 0)]), MOST_ENTRIES
    while waiting and left > 0:
        folder, depth = waiting.popleft()
        entries = list(_entries(folder, left))
        left -= len(entries)
        names = {entry.name for entry in entries}
        if "run.json" in names:
            pieces.runs.append(folder)
            continue
        _sort_files(folder, [entry.name for entry in entries if _is_file(entry)], pieces)
        folders = sorted(entry.name for entry in entries if _is_folder(entry))
        saved = [name for name in folders if SAVED.fullmatch(name)]
        if saved or set(STAGE_PARTS) & set(folders):
            pieces.stage_folders.append(folder)
            pieces.histories += _logs_of_savers(folder, saved)
        passed = {*STAGE_PARTS, *saved}
        enter = [name for name in folders if name not in passed and not _NOT_ENTERED.fullmatch(name)]
        waiting.extend((folder / name, depth + 1) for name in enter if depth < DEEPEST)
        pieces.cut_short |= bool(enter) and depth >= DEEPEST
    pieces.cut_short |= left <= 0
    for found in (pieces.runs, pieces.stage_folders, pieces.histories, pieces.configs):
        pieces.cut_short |= len(found) > MOST_OF_A_KIND
        del found[MOST_OF_A_KIND:]
    return pieces


def _logs_of_savers(folder: Path, saved: list[str]) -> list[Path]:
    """The Hugging Face trainer's log, as it lies in the newest of its checkpoints."""
    inside = folder / STAGE_PARTS[0]
    below = [entry.name for entry in _entries(inside, MOST_OF_A_KIND) if SAVED.fullmatch(entry.name)]
    found = [folder / name for name in saved] + [inside / name for name in below]
    newest = sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))[-1:]
    return [path / SAVED_LOG for path in newest if looks_like_history(path / SAVED_LOG)]


def _entries(folder: Path, most: int) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(most), entries, strict=False):
                yield entry
    except OSError:
        return


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _sort_files(folder: Path, names: list[str], pieces: Pieces) -> None:
    if any("tfevents" in name for name in names):
        pieces.histories.append(folder)
    pictures = {name.removesuffix(".png") for name in names if name.endswith(".png")}
    for name in sorted(names):
        if name.endswith(CONFIG_SUFFIXES) or name in CONFIG_NAMES:
            pieces.configs.append(folder / name)
        elif Path(name).stem not in pictures and looks_like_history(folder / name):
            pieces.histories.append(folder / name)


def configs_in(folder: Path) -> list[Path]:
    """The files in a folder that may hold a configuration; what lies deeper is not looked at."""
    names = sorted(entry.name for entry in _entries(folder, MOST_OF_A_KIND) if _is_file(entry))
    return [folder / name for name in names if name.endswith(CONFIG_SUFFIXES) or name in CONFIG_NAMES]


def looks_like_history(path: Path) -> bool:
    """Whether a file's name and first bytes are those of a history that somebody logged."""
    suffix = path.suffix.lower()
    if NO_HISTORIES.fullmatch(path.name) or suffix not in (*TEXT_SUFFIXES, *BINARY_HEADS):
        return False
    head = _head(path)
    if suffix in BINARY_HEADS:
        return head.startswith(BINARY_HEADS[suffix])
    if suffix in (".csv", ".tsv"):
        return bool(_HEADED.search(head.lstrip(b"\xef\xbb\xbf").partition(b"\n")[0]))
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if suffix == ".json" and start.startswith(b"{") and not _ROWS_INSIDE.search(start):
        return False
    return start.startswith((b"{", b"[")) and bool(_KEYED.search(start))


def _head(path: Path) -> bytes:
    try:
        with os.fdopen(disk.open_regular(path), "rb") as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def rows_roughly(path: Path) -> int:
    """About how many rows a history holds, without reading it as one: to compare copies of the same.

    Counts mentions of a step (JSON, W&B), else lines, in at most 1 GiB; 0 for what can't be read.
    """
    counts = dict.fromkeys((b"\n", b"_step", b'"step"'), 0)
    try:
        with os.fdopen(disk.open_regular(path), "rb") as file:
            for _ in range(1024):
                chunk = file.read(2**20)
                if not chunk:
                    break
                counts = {key: count + chunk.count(key) for key, count in counts.items()}
    except (OSError, ValueError):
        return 0
    named = counts[b"_step"] or counts[b'"step"']
    return named if path.suffix in (".json", ".wandb") and named else counts[b"\n"]
