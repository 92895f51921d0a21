"""`terrarium diagnose`: from its arguments to what is printed, written and returned."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console

from terrarium.doctor.detectors import RUN_DETECTORS, STAGE_DETECTORS, code_of
from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.finding import Finding, Verdict
from terrarium.doctor.follow import follow
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.language import Language
from terrarium.doctor.report import describe, diagnose, home, write
from terrarium.doctor.terminal import print_change, print_place, print_summary
from terrarium.errors import UsageError
from terrarium.run import disk


@dataclass(frozen=True)
class Consultation:
    """One call of `terrarium diagnose`.

    Attributes:
        paths: what to examine.
        out: the folder for the report; None for the run itself, if it is ours and can be written to.
        language: "en" or "zh"; the locale's if None.
        as_json: whether to print only `report.json`; files are then written only to `out`.
        stage: the stage that bare histories belong to.
        columns: our name of a column -> the name that it has in the files.
        config: a training configuration.
    """

    paths: tuple[Path, ...]
    out: Path | None = None
    language: str | None = None
    as_json: bool = False
    stage: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    config: Path | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            raise UsageError(
                "nothing says what to examine", "Give a run folder, a tree of results, or histories."
            )
        for path in (*self.paths, *([self.config] if self.config else [])):
            if not path.exists():
                raise UsageError(f"there is no {path}", _similar(path.name, _neighbours(path)))

    def once(self) -> int:
        """Examine, print and write; returns the exit code of the verdict."""
        diagnosis = self._diagnose()
        language = Language.choose(self.language)
        document = describe(diagnosis, language)
        report, reason = self._write(diagnosis, document, language)
        if self.as_json:
            _print_json(document, indent=2)
        else:
            console = _console()
            print_summary(document, language, console)
            print_place(report, reason, language, console)
        return diagnosis.verdict.exit_code

    def follow(self, interval: float) -> int:
        """Examine again and again while the run lives, and speak when something changes.

        Args:
            interval: seconds between two looks at its files.

        Returns:
            The exit code of the last verdict.
        """
        language, console, verdict = Language.choose(self.language), _console(), Verdict.UNKNOWN
        first = True
        try:
            for diagnosis in follow(self.paths, self._diagnose, interval=interval):
                verdict, document = diagnosis.verdict, describe(diagnosis, language)
                report, reason = self._write(diagnosis, document, language)
                if self.as_json:
                    _print_json(document)
                elif first:
                    print_summary(document, language, console)
                    print_place(report, reason, language, console)
                    console.print(language.say("terminal", "following"), style="dim", markup=False)
                else:
                    print_change(document, language, console, f"{datetime.now():%H:%M:%S}")
                first = False
            if not self.as_json:
                console.print(language.say("terminal", "ended"), style="dim", markup=False)
        except KeyboardInterrupt:
            pass  # the usual way to end it; the last verdict stands
        return verdict.exit_code

    def _diagnose(self) -> Diagnosis:
        return diagnose(self.paths, stage=self.stage, columns=self.columns, config=self.config)

    def _write(
        self, diagnosis: Diagnosis, document: JsonObject, language: Language
    ) -> tuple[Path | None, str]:
        """(where the report is, "") or (None, why there is none)."""
        if self.out is not None:
            return write(diagnosis, self.out.resolve(), language, document), ""
        if self.as_json:
            return None, "not_written"
        folder = home(diagnosis.evidence)
        if folder is None:
            ours = (diagnosis.evidence.path / "run.json").is_file()
            return None, "read_only" if ours else "not_written"
        return write(diagnosis, folder, language, document), ""


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """`loss=my/loss` as {"loss": "my/loss"}.

    Raises:
        UsageError: a pair has no `=`, or names a column twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UsageError(f"--column {pair!r} is not OURS=THEIRS", "Write --column loss=my/loss.")
        if ours in columns:
            raise UsageError(f"--column names {ours!r} twice", "Give each of our columns once.")
        columns[ours] = theirs
    return columns


def page_of(code: str, language: str | None) -> str:
    """The page of a detector, as `--explain` prints it.

    Raises:
        UsageError: there is no such detector.
    """
    detectors = _detectors()
    if code not in detectors:
        hint = f"{_similar(code, list(detectors))} All are shown by --list.".strip()
        raise UsageError(f"there is no detector {code!r}", hint)
    return f"{code}\n\n{Language.choose(language).page(detectors[code], code)}"


def list_pages(language: str | None) -> str:
    """Every code with its title, as `--list` prints them."""
    chosen, codes = Language.choose(language), sorted(_detectors())
    width = max(map(len, codes), default=0)
    return "\n".join(f"{code:<{width}}  {chosen.say('findings', code, 'title')}" for code in codes)


def _detectors() -> dict[str, Callable[..., Iterator[Finding]]]:
    every: list[Callable[..., Iterator[Finding]]] = [*STAGE_DETECTORS, *RUN_DETECTORS]
    return {code_of(detector): detector for detector in every}


def _similar(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else ""


def _neighbours(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()][:10_000]
    except OSError:
        return []


def _console() -> Console:
    return Console(highlight=False, file=sys.stdout)


def _print_json(document: JsonObject, indent: int | None = None) -> None:
    sys.stdout.write(disk.dump_json(document, indent=indent).decode())
    sys.stdout.flush()
