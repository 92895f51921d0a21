"""Gradient norms against their own typical level."""

from __future__ import annotations

import numpy as np
import pytest

from patients import gradients
from patients.trial import Detector, alarms, alarms_on_the_way, ask, assert_found
from terrarium.doctor.detectors.gradients import gradient_exploding, gradient_not_finite, gradient_vanishing
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Severity
from terrarium.doctor.history import History

DETECTORS: tuple[Detector, ...] = (gradient_exploding, gradient_not_finite, gradient_vanishing)
SICK = [(code, kind) for code, kinds in gradients.SICK.items() for kind in kinds]


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found_and_since_when(code: str, kind: str) -> None:
    pairs = assert_found(DETECTORS, gradients.SICK[code][kind], code)
    assert all(finding.evidence[0].threshold is not None for _, finding in pairs)


@pytest.mark.parametrize("kind", gradients.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    assert alarms(DETECTORS, gradients.HEALTHY[kind]) == []


@pytest.mark.parametrize("kind", gradients.HEALTHY)
def test_nothing_flickers_while_the_healthy_train(kind: str) -> None:
    assert alarms_on_the_way(DETECTORS, gradients.HEALTHY[kind]) == []


def test_gradients_that_end_in_nothing_are_critical() -> None:
    bad = np.arange(400) >= 390
    columns = {"step": np.arange(400.0), "grad_norm": np.where(bad, np.nan, 1.0)}
    stage = StageEvidence("dynamics", history=History(columns, {"grad_norm": bad}))
    finding = next(gradient_not_finite(stage))
    assert finding.severity is Severity.CRITICAL
    assert finding.first_step == 390


def test_a_norm_without_a_loss_beside_it_must_grow_more() -> None:
    for times, said in ((15, 0), (60, 1)):
        norm = np.where(np.arange(1000) < 600, 1.0, times) * np.exp(
            0.1 * np.random.default_rng(4).standard_normal(1000)
        )
        stage = StageEvidence("dynamics", history=History({"step": np.arange(1000.0), "grad_norm": norm}))
        assert len(ask([gradient_exploding], stage)) == said
