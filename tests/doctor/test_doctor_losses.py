"""Losses that are sick, and those that are only noisy, scheduled, or not yet done."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from healthy_losses import HEALTHY
from loss_laws import Made, ar1
from sick_losses import SICK

from patients.trial import ask, unsaid, until
from terrarium.doctor.detectors import STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Evidence, Plan, StageEvidence
from terrarium.doctor.examine import examine
from terrarium.doctor.finding import Finding, Severity, Verdict
from terrarium.doctor.history import History

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


def short_run(seed: int) -> StageEvidence:
    """A dynamics of the quick preset as it goes: from a little above chance down, while the rate warms up."""
    rng, rows = np.random.default_rng(seed), np.arange(700.0)
    level = rng.uniform(0.3, 3) + rng.uniform(4.5, 6.5) * np.exp(-rows / rng.uniform(40, 250))
    rate = 2e-3 * np.clip(np.minimum((rows + 1) / 40, (700 - rows) / 200), 0.01, 1)
    columns = {
        "step": rows,
        "loss": level * np.exp(rng.uniform(0.01, 0.08) * ar1(rng, rows.size, rng.choice([0.0, 0.6, 0.9]), 5)),
        "learning_rate": rate,
        "grad_norm": rng.lognormal(0, 0.4, rows.size),
    }
    plan = Plan(steps=700, learning_rate=2e-3, chance_levels={"chance": math.log(1000)})
    return StageEvidence("dynamics", plan=plan, history=History(columns))


def test_a_short_healthy_run_is_critical_at_no_step_of_its_way() -> None:
    for seed in range(12):
        stage = short_run(seed)
        for rows in range(20, 701, 20):
            evidence = Evidence(Path("run"), stages={"dynamics": until(stage, rows / 700)})
            assert examine(evidence).verdict is not Verdict.CRITICAL, (seed, rows)


@pytest.mark.parametrize("kind", HEALTHY)
def test_no_healthy_law_is_critical_on_its_way(kind: str) -> None:
    for seed in range(1001, 1004):
        stage = HEALTHY[kind](seed).stage
        for share in (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9):
            evidence = Evidence(Path("run"), stages={stage.name: until(stage, share)})
            assert examine(evidence).verdict is not Verdict.CRITICAL, (seed, share)


def relearnt(spike: float, after: float) -> StageEvidence:
    """A loss that falls to the end; half-way it shoots up, and what it had learnt has to be learnt anew."""
    rows = np.arange(3000.0)
    since = np.maximum(rows - 1500, 0)
    loss = 0.5 + 4 * np.exp(-rows / 800) + 3 * np.exp(-np.where(rows < 1500, np.inf, since) / after) / 3
    loss += np.where(rows < 1500, 0, spike * np.exp(-since / 10))
    loss *= np.exp(np.random.default_rng(3).normal(0, 0.03, rows.size))
    return StageEvidence("dynamics", source="history.csv", history=History({"step": rows, "loss": loss}))


@pytest.mark.parametrize("spike, told", [(20.0, ["watch"]), (0.0, [])])
def test_a_spike_that_cost_a_good_part_of_the_run_is_told_though_it_was_made_good(
    spike: float, told: list[str]
) -> None:
    findings = ask(DETECTORS, relearnt(spike, after=900))
    spikes = [each for each in findings if each.code == "loss-spike"]
    assert [each.severity for each in spikes if each.severity is not Severity.INFO] == told
    for finding in spikes:
        assert unsaid(finding) == []
        assert abs((finding.first_step or 0) - 1500) < 20


@pytest.mark.parametrize("first, told", [(50.0, ["loss-unit"]), (500.0, [])])
def test_a_history_may_begin_with_the_first_row_that_was_due(first: float, told: list[str]) -> None:
    steps = np.asarray(first * np.arange(1, 101), np.float64)
    loss = math.log(1024) / 4 * (0.4 + 0.6 * np.exp(-steps / steps[-1] * 5))
    plan = Plan(codes=1024, gradient_accumulation_steps=4)
    columns = {"step": steps, "loss": np.asarray(loss, np.float64)}
    stage = StageEvidence("dynamics", plan=plan, history=History(columns))
    assert [each.code for each in ask(DETECTORS, stage)] == told
