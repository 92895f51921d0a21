"""Detectors on trial: how often they find what is there, and since when; and what they imagine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from patients.courses import Maker, Patient
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.history import History
from terrarium.doctor.language import LANGUAGES, Language, form_of

Detector: TypeAlias = Callable[[StageEvidence], Iterator[Finding]]

HELD_OUT = range(1000, 1020)  # seeds that nobody looked at while thresholds were chosen
ONSET = 0.05  # of a run's length
PREFIXES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)


def ask(detectors: Sequence[Detector], stage: StageEvidence) -> list[Finding]:
    return [finding for detector in detectors for finding in detector(stage)]


def found(detectors: Sequence[Detector], maker: Maker, code: str) -> list[tuple[Patient, Finding]]:
    """The patients in which the code is found, each with its finding."""
    patients = [maker(np.random.default_rng(seed)) for seed in HELD_OUT]
    pairs = [(patient, ask(detectors, patient.stage)) for patient in patients]
    return [(patient, f) for patient, findings in pairs for f in findings if f.code == code]


def in_time(pairs: Sequence[tuple[Patient, Finding]]) -> int:
    """How many findings begin where the illness does; patients without an onset count as well."""
    late = [
        abs((finding.first_step or 0) - patient.onset) / float(np.ptp(patient.stage.kept.steps))
        for patient, finding in pairs
        if patient.onset is not None
    ]
    return len(pairs) - sum(share > ONSET for share in late)


def assert_found(detectors: Sequence[Detector], maker: Maker, code: str) -> list[tuple[Patient, Finding]]:
    """Nearly all patients are found, with the right onset, and findings can be said in every language."""
    pairs = found(detectors, maker, code)
    assert len(pairs) >= 0.9 * len(HELD_OUT)
    assert in_time(pairs) >= 0.9 * len(pairs)
    assert not {part for _, finding in pairs for part in unsaid(finding)}
    return pairs


def alarms(detectors: Sequence[Detector], maker: Maker) -> list[str]:
    """What is wrongly said of healthy patients, apart from information."""
    stages = [maker(np.random.default_rng(seed)).stage for seed in HELD_OUT]
    findings = [finding for stage in stages for finding in ask(detectors, stage)]
    return [
        f"{finding.code} {finding.values}" for finding in findings if finding.severity is not Severity.INFO
    ]


def alarms_on_the_way(detectors: Sequence[Detector], maker: Maker) -> list[str]:
    """What would have been said while healthy patients were still training."""
    said = []
    for seed in HELD_OUT[:10]:
        stage = maker(np.random.default_rng(seed)).stage
        for share in PREFIXES:
            findings = ask(detectors, until(stage, share))
            said += [f"{f.code} {seed} {share}" for f in findings if f.severity is not Severity.INFO]
    return said


def until(stage: StageEvidence, share: float) -> StageEvidence:
    """A stage when that share of its rows was written."""
    history = stage.history
    assert history is not None
    rows = max(2, int(share * history.rows))
    columns = {name: values[:rows] for name, values in history.columns.items()}
    bad = {name: flags[:rows] for name, flags in history.not_finite.items()}
    return replace(stage, history=History(columns, bad))


def is_named(name: str) -> bool:
    """Whether the name of a number stands in the table `numbers`, with all that fills its braces."""
    key, parts = form_of(name)
    return key is not None and all(
        form_of(part)[0]
        or part.replace(".", "").isdecimal()
        or Language.choose("zh").knows("stages", part, "title")
        for part in parts.values()
    )


def unsaid(finding: Finding) -> list[str]:
    """What a language has no sentence for, or not all values; and numbers without a name."""
    missing = [number.name for number in finding.evidence if not is_named(number.name)]
    for code in LANGUAGES:
        language = Language.choose(code)
        for part in ("title", "message", "cause", "refuted_by"):
            said = language.finding(finding, part, {})
            if said in ("", part, "text", finding.code) or "{" in said:
                missing.append(f"{code}: {finding.code}.{part}")
        if code != "en" and not language.knows("findings", finding.code, "page"):
            missing.append(f"{code}: page of {finding.code}")
        missing += [
            f"{code}: {a}" for a in finding.actions if language.say("actions", a, **finding.values) == a
        ]
    return missing
