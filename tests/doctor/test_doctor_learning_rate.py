"""Learning rates that are wrong, and those that are only high, low or scheduled."""

from __future__ import annotations

import numpy as np
import pytest

from patients import rates
from patients.trial import Detector, alarms, alarms_on_the_way, assert_found, unsaid
from terrarium.doctor.detectors.learning_rate import learning_rate_not_applied, learning_rate_zero
from terrarium.doctor.detectors.learning_rate_high import learning_rate_too_high
from terrarium.doctor.detectors.warmup import learning_rate_no_warmup
from terrarium.doctor.evidence import Plan, StageEvidence

DETECTORS: tuple[Detector, ...] = (
    learning_rate_no_warmup,
    learning_rate_not_applied,
    learning_rate_too_high,
    learning_rate_zero,
)
SICK = [(code, kind) for code, kinds in rates.SICK.items() for kind in kinds]


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found_and_since_when(code: str, kind: str) -> None:
    pairs = assert_found(DETECTORS, rates.SICK[code][kind], code)
    assert all(finding.evidence[0].threshold is not None for _, finding in pairs)


@pytest.mark.parametrize("kind", rates.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    assert alarms(DETECTORS, rates.HEALTHY[kind]) == []


@pytest.mark.parametrize("kind", [kind for kind in rates.HEALTHY if kind != "bumpy"])
def test_nothing_flickers_while_the_healthy_train(kind: str) -> None:
    assert alarms_on_the_way(DETECTORS, rates.HEALTHY[kind]) == []


def test_a_bump_rarely_looks_like_a_rate_while_it_lasts() -> None:
    """On its way up a bump is a rise like any other: 80 looks, of which a few fall on one."""
    assert len(alarms_on_the_way(DETECTORS, rates.HEALTHY["bumpy"])) <= 4


def test_a_cause_is_never_contradicted() -> None:
    """Zero, small, or long past its peak when the rise began: no rate to blame."""
    for seed in range(20):
        stage = rates.low_rate_that_diverges(np.random.default_rng(seed)).stage
        assert list(learning_rate_too_high(stage)) == []


def test_the_numbers_speak_for_the_cause() -> None:
    stage = rates.as_in_the_seed(np.random.default_rng(3)).stage
    finding = next(learning_rate_too_high(stage))
    assert finding.cause == "rate-over-its-horizon"
    assert finding.values["rate"] == pytest.approx(0.01)
    assert finding.values["planned"] == 300_000
    assert float(finding.values["rate_now"]) > 0.009
    assert finding.values["suggested_rate"] == pytest.approx(5e-4)
    assert finding.evidence[0].name == "learning rate where the loss turns"


def test_a_rate_of_zero_is_known_from_the_plan_alone() -> None:
    finding = next(learning_rate_zero(StageEvidence("dynamics", plan=Plan("c.yaml", learning_rate=0.0))))
    assert finding.first_step is None
    assert finding.evidence[0].file == "c.yaml"
    assert unsaid(finding) == []


def test_a_remedy_that_took_effect_is_left_alone() -> None:
    """The configuration asks for less than the first part of the run had, and the last part has it."""
    stage = rates.resumed(np.random.default_rng(2)).stage
    assert stage.history is not None
    rate = stage.history.columns["learning_rate"]
    rate[rate.size // 2 :] = 1e-4
    lowered = StageEvidence("x", plan=Plan(learning_rate=1e-4), history=stage.history)
    assert list(learning_rate_not_applied(lowered)) == []
