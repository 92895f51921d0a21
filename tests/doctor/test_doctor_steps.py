"""Steps that are there twice or not at all, and rows that could not be read."""

from __future__ import annotations

import numpy as np
import pytest

from patients import pace
from patients.trial import Detector, alarms, alarms_on_the_way, assert_found
from terrarium.doctor.detectors.steps import rows_damaged, steps_missing, steps_repeated
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Severity
from terrarium.doctor.history import History

DETECTORS: tuple[Detector, ...] = (steps_repeated, steps_missing, rows_damaged)
CODES = ("steps-repeated", "steps-missing", "rows-damaged")
SICK = [(code, kind) for code in CODES for kind in pace.SICK[code]]


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found_and_since_when(code: str, kind: str) -> None:
    assert_found(DETECTORS, pace.SICK[code][kind], code)


@pytest.mark.parametrize("kind", pace.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    assert alarms(DETECTORS, pace.HEALTHY[kind]) == []
    assert alarms_on_the_way(DETECTORS, pace.HEALTHY[kind]) == []


def test_what_is_there_twice_is_counted() -> None:
    step = np.concatenate([np.arange(800), np.arange(600, 1000)]) * 1.0
    stage = StageEvidence("x", history=History({"step": step, "loss": np.ones(step.size)}))
    finding = next(steps_repeated(stage))
    assert (finding.values["repeated"], finding.first_step, finding.last_step) == (200, 600, 799)
    assert finding.cause == "resumed-from-an-earlier-step"
    assert finding.severity is Severity.WATCH


def test_two_writers_are_told_from_a_resume() -> None:
    stage = pace.two_writers(np.random.default_rng(0)).stage
    assert next(steps_repeated(stage)).cause == "two-writers"


def test_gaps_and_lost_rows_are_information_alone() -> None:
    gappy = pace.gappy(np.random.default_rng(0)).stage
    damaged = pace.damaged(np.random.default_rng(0)).stage
    severities = {finding.severity for stage in (gappy, damaged) for d in DETECTORS for finding in d(stage)}
    assert severities == {Severity.INFO}


def test_a_tail_is_told_to_lack_its_beginning() -> None:
    step = np.arange(20_000.0, 25_000.0)
    finding = next(steps_missing(StageEvidence("x", history=History({"step": step}))))
    assert (finding.first_step, finding.last_step) == (0, 20_000)
