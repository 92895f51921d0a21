"""Every code in the tables has a page, sentences in every language, and patients that it tells apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest

from patients import table
from patients.trial import unsaid
from terrarium.doctor.detectors import RUN_DETECTORS, STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Evidence
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.language import LANGUAGES, Language

OF_STAGES = {code_of(detector): detector for detector in STAGE_DETECTORS}
OF_RUNS = {code_of(detector): detector for detector in RUN_DETECTORS}
DETECTORS: dict[str, Callable[..., Iterator[Finding]]] = {**OF_STAGES, **OF_RUNS}
SEEDS = (1101, 1102)


def said(code: str, evidence: Evidence) -> Iterator[Finding]:
    """What one detector says of a run."""
    if code in OF_RUNS:
        yield from OF_RUNS[code](evidence)
        return
    for stage in evidence.stages.values():
        yield from OF_STAGES[code](stage)


@pytest.mark.parametrize("code", DETECTORS)
def test_it_is_said_of_the_sick_in_every_language(code: str) -> None:
    cases = [evidence for seed in SEEDS for evidence in table.sick(code, seed)]
    findings = [list(said(code, evidence)) for evidence in cases]
    assert cases, "a detector without sick patients"
    assert sum(map(bool, findings)) >= 0.5 * len(cases)
    for finding in (finding for found in findings for finding in found):
        assert finding.code == code
        assert unsaid(finding) == []


@pytest.mark.parametrize("code", DETECTORS)
def test_it_is_not_said_of_the_healthy(code: str) -> None:
    cases = list(table.healthy(code, SEEDS[0]))
    assert cases, "a detector without healthy patients"
    alarms = [finding for evidence in cases for finding in said(code, evidence)]
    assert [finding.values for finding in alarms if finding.severity is not Severity.INFO] == []


@pytest.mark.parametrize("code", DETECTORS)
def test_it_has_a_page_in_every_language(code: str) -> None:
    page = inspect.getdoc(DETECTORS[code]) or ""
    labels = [paragraph.partition(":")[0] for paragraph in page.split("\n\n")[1:]]
    assert labels == ["Looks for", "Why it matters", "What to do", "Silent when"]
    for language in LANGUAGES:
        shown = Language.choose(language).page(DETECTORS[code], code)
        assert shown.count("\n\n") == 4, language
