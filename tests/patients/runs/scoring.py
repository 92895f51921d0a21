"""What the doctor says about a case, against what is true of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from patients.runs.case import Case
from patients.runs.files import write
from terrarium.doctor.evidence import Evidence
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.history import History
from terrarium.doctor.readers.gather import gather

BEFORE = (0.3, 0.6, 0.9)
"""Shares of the rows before the onset that are examined on their own."""

AFTER = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.5, 0.75, 1.0)
"""Shares of the rows after the onset up to which the history is examined, to see when the fault is told."""

CLOSE = 0.05  # of a run's length: how far off an onset may be


@dataclass(frozen=True)
class Marks:
    """How well one case was diagnosed.

    Attributes:
        case: the case.
        typed: whether an accepted code was found.
        lead: whether what comes first is right, by its code or its cause.
        onset_error: distance to the nearest accepted onset, as a share of the run; NaN where it was not
            typed or has none.
        alarms: codes of watch and critical findings.
        critical: codes of critical findings.
        wrong: alarms that are not true of the run.
        delay: steps from the onset to the first examined prefix in which it was typed; NaN where it was not.
        early: alarms on a prefix before the onset, or on any prefix of a healthy run.
        first: code and cause of what came first.
        seconds: that the whole history took to read and examine.
    """

    case: Case
    typed: bool
    lead: bool
    onset_error: float
    alarms: tuple[str, ...]
    critical: tuple[str, ...]
    wrong: tuple[str, ...]
    delay: float
    early: tuple[str, ...]
    first: str
    seconds: float

    @property
    def onset(self) -> bool:
        """Whether the onset was told; faults without one count as told when they are typed."""
        return self.typed and (not self.case.truth.onsets or self.onset_error <= CLOSE)


def score(case: Case, folder: Path, prefixes: bool = True) -> Marks:
    """Write a case, diagnose it, and mark the diagnosis.

    Args:
        case: to be examined.
        folder: an existing, empty folder for its files.
        prefixes: whether prefixes of the history are examined too: without them there is no delay.
    """
    path = write(case, folder)
    started = time.perf_counter()
    config = folder / "config.json"
    evidence = gather([path], stage=case.stage, config=config if config.exists() else None)
    diagnosis = examine(evidence)
    seconds = time.perf_counter() - started
    truth, findings = case.truth, diagnosis.findings
    typed = _typed(case, diagnosis)
    told = [finding for finding in findings if finding.code in truth.codes and finding.first_step is not None]
    alarms = _alarms(diagnosis)
    delay, early = _follow(case, evidence) if prefixes else (math.nan, ())
    return Marks(
        case,
        typed,
        bool(typed and {findings[0].code, findings[0].cause} & truth.leads),
        min((_onset_error(case, finding) for finding in told[:1]), default=math.nan),
        alarms,
        tuple(finding.code for finding in findings if finding.severity is Severity.CRITICAL),
        tuple(code for code in alarms if code not in truth.codes | truth.leads | truth.fair),
        delay,
        early,
        f"{findings[0].code} {findings[0].cause}".strip() if findings else "",
        seconds,
    )


def _alarms(diagnosis: Diagnosis) -> tuple[str, ...]:
    return tuple(f.code for f in diagnosis.findings if f.severity is not Severity.INFO)


def _typed(case: Case, diagnosis: Diagnosis) -> bool:
    said = _alarms(diagnosis) if case.truth.severe else tuple(f.code for f in diagnosis.findings)
    return bool(set(said) & case.truth.codes)


def _onset_error(case: Case, finding: Finding) -> float:
    assert finding.first_step is not None
    begun = finding.first_step
    return min((abs(begun - onset) / case.length for onset in case.truth.onsets), default=math.nan)


def _follow(case: Case, evidence: Evidence) -> tuple[float, tuple[str, ...]]:
    """The delay in steps, and what was said too early."""
    truth, steps = case.truth, case.columns["step"]
    if not truth.healthy and not truth.onsets:
        return math.nan, ()
    begun = case.rows if truth.healthy else int(np.argmax(steps >= min(truth.onsets)))
    before = [int(begun * share) for share in BEFORE]
    early = {
        code for rows in before if rows > 1 for code in _alarms(examine(_prefix(evidence, rows, case.rows)))
    }
    early -= truth.fair | truth.codes | truth.leads if begun < 0.05 * case.rows else set()
    for rows in () if truth.healthy else _later(begun, case.rows):
        if _typed(case, examine(_prefix(evidence, rows, case.rows))):
            return max(0.0, float(steps[:rows].max() - min(truth.onsets))), tuple(sorted(early))
    return math.nan, tuple(sorted(early))


def _later(begun: int, rows: int) -> Iterator[int]:
    return (begun + max(2, int(share * (rows - begun))) for share in AFTER)


def _prefix(evidence: Evidence, rows: int, of: int) -> Evidence:
    """The same evidence when only that share of the rows had been written."""
    stages = {}
    for name, stage in evidence.stages.items():
        history = stage.history
        assert history is not None
        until = math.ceil(history.rows * min(1.0, rows / of))
        columns = {key: values[:until] for key, values in history.columns.items()}
        columns = {key: values for key, values in columns.items() if np.isfinite(values).any()}
        bad = {key: there[:until] for key, there in history.not_finite.items() if there[:until].any()}
        stages[name] = replace(stage, history=History(columns, bad, history.damaged, history.lost_bytes))
    return replace(evidence, stages=stages)
