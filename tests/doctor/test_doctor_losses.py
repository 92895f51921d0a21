"""Losses that are sick, and those that are only noisy, scheduled, or not yet done."""

from __future__ import annotations

import inspect
import math

import pytest
from loss_laws import HEALTHY, SICK, Made

from patients.trial import ask, unsaid
from terrarium.doctor.detectors import STAGE_DETECTORS, code_of
from terrarium.doctor.finding import Finding, Severity

DETECTORS = tuple(one for one in STAGE_DETECTORS if code_of(one).startswith(("loss-", "overfitting")))
EASY = ("diverging_start", "diverging_sudden", "constant", "divided", "nan_stays", "inf_recovers")


def told(made: Made) -> list[Finding]:
    return [finding for finding in ask(DETECTORS, made.stage) if finding.code in made.codes]


@pytest.mark.parametrize("kind", SICK)
def test_each_law_of_sickness_is_found(kind: str) -> None:
    cases = [SICK[kind](seed) for seed in range(1001, 1007)]
    findings = [told(made) for made in cases]
    assert sum(map(bool, findings)) >= (6 if kind in EASY else 2)
    assert not {part for found in findings for finding in found for part in unsaid(finding)}
    assert all(finding.evidence[0].threshold is not None for found in findings for finding in found)


@pytest.mark.parametrize("kind", HEALTHY)
def test_nothing_is_said_of_the_healthy(kind: str) -> None:
    findings = [
        finding for seed in range(1001, 1007) for finding in ask(DETECTORS, HEALTHY[kind](seed).stage)
    ]
    assert [finding.code for finding in findings if finding.severity is not Severity.INFO] == []


def test_every_loss_detector_has_a_law_that_makes_it_speak() -> None:
    spoken = {
        finding.code for kind in SICK for seed in range(1001, 1004) for finding in told(SICK[kind](seed))
    }
    assert spoken == {code_of(detector) for detector in DETECTORS}


@pytest.mark.parametrize("detector", DETECTORS)
def test_each_has_a_page_of_four_paragraphs(detector: object) -> None:
    paragraphs = (inspect.getdoc(detector) or "").split("\n\n")
    labels = [paragraph.partition(":")[0] for paragraph in paragraphs[1:]]
    assert labels == ["Looks for", "Why it matters", "What to do", "Silent when"]


def test_onsets_are_where_it_began_not_where_it_could_be_told() -> None:
    errors = []
    for kind in EASY:
        for seed in range(1001, 1007):
            made = SICK[kind](seed)
            assert made.onset is not None
            length = float(made.stage.kept.steps.max())
            errors += [abs((finding.first_step or 0) - made.onset) / length for finding in told(made)[:1]]
    assert sum(error <= 0.05 for error in errors) >= 0.9 * len(errors)
    assert not any(math.isnan(error) for error in errors)
