"""Footage from files: videos of any kind, folders of them, and TinyWorlds' HDF5 files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from terrarium.data.dataset import Dataset
from terrarium.data.index import MAX_RATE
from terrarium.data.sources import decode, h5
from terrarium.data.sources.pixels import Size
from terrarium.data.sources.scenes import Reading, Shot, UnreadableFootageError, episodes, mark_cuts
from terrarium.data.writer import DatasetWriter
from terrarium.errors import DataError

MIN_EPISODE_FRAMES = 16  # a shorter run holds too little to learn motion from
SUFFIXES = decode.SUFFIXES | h5.SUFFIXES

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class KeptFile:
    """What was taken from one file.

    Attributes:
        path: the file.
        episodes: stored from it.
        frames: in those.
        note: what was wrong with a file that could be read only in part, else "".
    """

    path: Path
    episodes: int
    frames: int
    note: str = ""

    def __str__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        return f"{self.path}: {self.frames} frames in {self.episodes} episodes{note}"


@dataclass(frozen=True)
class IngestReport:
    """What became of every file.

    Attributes:
        dataset: the stored footage, opened.
        kept: the files that gave footage.
        skipped: the files and folders that gave none, with the reason.
    """

    dataset: Dataset
    kept: list[KeptFile]
    skipped: list[tuple[Path, str]]


def ingest(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    size: Size = (64, 64),
    frames_per_second: float = 10.0,
    seed: int = 0,
    max_episode_frames: int = 1000,
    progress: Progress | None = None,
) -> IngestReport:
    """Store footage from files, cut into episodes at scene changes; unreadable files are skipped by name.

    Args:
        paths: files, and folders that are searched recursively for files of known kinds.
        out: the dataset folder to make.
        size: height and width of the stored frames; pictures are stretched to it by averaging.
        frames_per_second: rate to resample videos to. HDF5 files have no rate and are taken frame by frame; a
            dataset that holds any has no rate either.
        seed: of the choice of held-out episodes.
        max_episode_frames: longer runs are cut.
        progress: called with (bytes read, bytes in all) now and then.

    Raises:
        DataError: nothing could be read (with every reason), or the target can't be written.
        MissingExtraError: an HDF5 file is given and h5py is not installed.
    """
    if max_episode_frames < MIN_EPISODE_FRAMES:
        raise DataError(
            f"max_episode_frames is {max_episode_frames}", f"Give at least {MIN_EPISODE_FRAMES} frames."
        )
    if not 0 < frames_per_second <= MAX_RATE:  # also if HDF5 files leave the dataset without a rate
        raise DataError(f"{frames_per_second} frames per second", f"Give more than 0, at most {MAX_RATE}.")
    files, skipped = _find(paths)
    holds_h5 = any(file.suffix.lower() in h5.SUFFIXES for file in files)
    if holds_h5:
        h5.require_h5py()
    kept: list[KeptFile] = []
    with DatasetWriter(
        out,
        height=size[0],
        width=size[1],
        frames_per_second=None if holds_h5 else frames_per_second,
        source=_title(files),
        seed=seed,
    ) as writer:
        ticker = _Ticker(files, progress)
        for file in files:
            reading = Reading()
            shots = ticker.watch(file, reading, _read(file, frames_per_second, size, reading))
            try:
                kept.append(_store(writer, file, shots, max_episode_frames, reading))
            except UnreadableFootageError as error:
                skipped.append((file, str(error)))
        if not kept:
            raise _nothing(skipped)
        writer.source = _title([each.path for each in kept])
    return IngestReport(Dataset.open(out), kept, skipped)


def _find(paths: Iterable[str | Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files to read, each once and in a stable order, and the paths that are none, with the reason."""
    files: dict[Path, Path] = {}
    skipped: list[tuple[Path, str]] = []
    for path in map(Path, paths):
        found = _files_in(path) if path.is_dir() else [path]
        if not path.exists():
            skipped.append((path, "it doesn't exist"))
        elif not found:
            skipped.append((path, "no video files in this folder"))
        elif not all(file.is_file() for file in found):
            skipped.append((path, "it is neither a file nor a folder"))
        else:
            files.update({file.resolve(): file for file in found if file.resolve() not in files})
    return list(files.values()), skipped


def _files_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _title(files: Sequence[Path]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return f"{names} and {len(files) - 3} more files" if len(files) > 3 else names


def _read(file: Path, rate: float, size: Size, reading: Reading) -> Iterator[Shot]:
    if file.suffix.lower() in h5.SUFFIXES:
        return h5.read_h5(file, size, reading)
    return decode.read_video(file, rate, size, reading)


def _store(
    writer: DatasetWriter, file: Path, shots: Iterator[Shot], longest: int, reading: Reading
) -> KeptFile:
    count = frames = best = 0
    for run in episodes(mark_cuts(shots), longest):
        head = list(itertools.islice(run, MIN_EPISODE_FRAMES))
        best = max(best, len(head))
        if len(head) == MIN_EPISODE_FRAMES:
            frames += writer.add_episode(itertools.chain(head, run), source=file.name)
            count += 1
    if not count:
        short = f"its longest scene has {best} frames, fewer than {MIN_EPISODE_FRAMES}"
        raise UnreadableFootageError("; ".join(filter(None, (short, reading.note))))
    return KeptFile(file, count, frames, reading.note)


def _nothing(skipped: Sequence[tuple[Path, str]]) -> DataError:
    reasons = [f"{path} ({reason})" for path, reason in skipped[:10]]
    if len(skipped) > 10:
        reasons.append(f"and {len(skipped) - 10} more")
    what = f"no footage could be read: {', '.join(reasons)}" if reasons else "no files were given"
    return DataError(what, "Give video files, folders of them, or a TinyWorlds *_frames.h5.")


class _Ticker:
    """Adds up how far the files have been read."""

    def __init__(self, files: Sequence[Path], progress: Progress | None) -> None:
        self._sizes = {file: file.stat().st_size for file in files}
        self._total, self._done = sum(self._sizes.values()), 0
        self._progress = progress

    def watch(self, file: Path, reading: Reading, shots: Iterator[Shot]) -> Iterator[Shot]:
        size = self._sizes[file]
        try:
            for number, shot in enumerate(shots):
                if number % 20 == 0:
                    self._tell(self._done + int(reading.position * size))
                yield shot
        finally:
            self._done += size
        self._tell(self._done)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._total)
