"""Codebooks and actions that fall out of use, and healthy ones that only look so."""

from __future__ import annotations

import numpy as np
import pytest

from patients import codes
from patients.trial import Detector, alarms, alarms_on_the_way, ask, assert_found
from terrarium.doctor.detectors.actions import actions_collapsed, actions_narrow, actions_unstable
from terrarium.doctor.detectors.codes import codebook_collapsed
from terrarium.doctor.finding import Severity

DETECTORS: tuple[Detector, ...] = (codebook_collapsed, actions_collapsed, actions_narrow, actions_unstable)
SICK = [(code, kind) for code, kinds in codes.SICK.items() for kind in kinds]


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found_and_since_when(code: str, kind: str) -> None:
    pairs = assert_found(DETECTORS, codes.SICK[code][kind], code)
    assert all(finding.evidence[0].threshold is not None for _, finding in pairs)


@pytest.mark.parametrize("kind", codes.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    assert alarms(DETECTORS, codes.HEALTHY[kind]) == []


@pytest.mark.parametrize("kind", codes.HEALTHY)
def test_nothing_flickers_while_the_healthy_train(kind: str) -> None:
    assert alarms_on_the_way(DETECTORS, codes.HEALTHY[kind]) == []


def test_one_illness_is_one_finding() -> None:
    """Actions that collapse are not narrow as well, and their usage is no codebook's."""
    for code, kinds in codes.SICK.items():
        for kind, maker in kinds.items():
            for seed in range(5):
                findings = ask(DETECTORS, maker(np.random.default_rng(seed)).stage)
                assert [finding.code for finding in findings] == [code], kind


def test_a_collapse_is_critical_and_narrow_actions_are_not() -> None:
    collapsed = codes.collapsing_actions(np.random.default_rng(1)).stage
    narrow = codes.narrow_actions(np.random.default_rng(1)).stage
    assert next(actions_collapsed(collapsed)).severity is Severity.CRITICAL
    assert next(actions_narrow(narrow)).severity is Severity.WATCH


def test_narrow_actions_of_the_report_have_its_share() -> None:
    stages = [codes.narrowed_actions_of_the_seed(np.random.default_rng(seed)).stage for seed in range(9)]
    planned = next(stage for stage in stages if stage.plan.actions)
    finding = next(actions_narrow(planned))
    assert 0.15 < float(finding.values["share"]) < 0.2
    assert finding.evidence[1].number == pytest.approx(0.4826)


def test_who_does_not_know_the_number_of_actions_is_less_sure() -> None:
    stages = [codes.narrowed_actions_of_the_seed(np.random.default_rng(seed)).stage for seed in range(9)]
    known = [next(actions_narrow(stage)).confidence for stage in stages if stage.plan.actions]
    unknown = [next(actions_narrow(stage)).confidence for stage in stages if not stage.plan.actions]
    assert min(known) > max(unknown)
