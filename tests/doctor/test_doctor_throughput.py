"""Speed and progress: slower, standing still, gone; and clocks that only look so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patients import pace
from patients.trial import Detector, alarms, alarms_on_the_way, ask, assert_found, unsaid
from terrarium.doctor.decisions import Decided, Decisions
from terrarium.doctor.detectors.stalls import run_stalled, run_unfinished
from terrarium.doctor.detectors.throughput import device_idle, throughput_dropped
from terrarium.doctor.evidence import Evidence, Liveness, Plan, StageEvidence
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.language import Language
from terrarium.doctor.pace import Pace
from terrarium.doctor.saved import Checkpoint


def _stalled(stage: StageEvidence) -> Iterator[Finding]:
    return run_stalled(_run(stage))


def _run(stage: StageEvidence, liveness: Liveness | None = None) -> Evidence:
    return Evidence(Path("run"), stages={stage.name: stage}, liveness=liveness or Liveness())


DETECTORS: tuple[Detector, ...] = (throughput_dropped, device_idle, _stalled)
CODES = ("throughput-dropped", "device-idle", "run-stalled")
SICK = [(code, kind) for code in CODES for kind in pace.SICK[code]]


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found_and_since_when(code: str, kind: str) -> None:
    assert_found(DETECTORS, pace.SICK[code][kind], code)


@pytest.mark.parametrize("kind", pace.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    assert alarms(DETECTORS, pace.HEALTHY[kind]) == []


@pytest.mark.parametrize("kind", [kind for kind in pace.HEALTHY if kind not in ("crowded", "validating")])
def test_nothing_flickers_while_the_healthy_train(kind: str) -> None:
    assert alarms_on_the_way(DETECTORS, pace.HEALTHY[kind]) == []


def test_a_crowded_machine_is_rarely_told_of_while_it_is_crowded() -> None:
    """While others use the machine the run is slower, and 80 looks fall on that now and then."""
    assert len(alarms_on_the_way(DETECTORS, pace.HEALTHY["crowded"])) <= 8


def test_the_slowdown_of_the_report_has_its_figures() -> None:
    finding = next(throughput_dropped(pace.slowed_as_in_the_seed(np.random.default_rng(0)).stage))
    assert finding.values["overall"] == pytest.approx(0.3701, abs=5e-5)
    assert finding.values["recent"] == pytest.approx(0.2601, abs=5e-5)
    assert finding.values["hours"] == pytest.approx(187.4, abs=0.05)
    assert finding.values["hours_recent"] == pytest.approx(266.6, abs=0.05)


def test_an_hour_of_validation_is_no_stall_once_it_is_regular() -> None:
    rng = np.random.default_rng(3)
    seconds = np.ones(3000)
    seconds[500::500] += 4000 * rng.uniform(0.8, 1.2, 5)
    assert ask([_stalled], pace.timed(rng, seconds).stage) == []
    seconds[1234] += 4000
    assert [finding.first_step for finding in _stalled(pace.timed(np.random.default_rng(3), seconds).stage)]


@pytest.mark.parametrize(
    ("liveness", "codes"),
    [
        (Liveness(True, "lock-held", 40.0), []),
        (Liveness(True, "lock-held", 100.0), ["run-stalled"]),
        (Liveness(False, "lock-free", 1e6), ["run-unfinished"]),
        (Liveness(None, "copied", 1e6), []),
    ],
)
def test_progress_is_steps_not_a_living_process(liveness: Liveness, codes: list[str]) -> None:
    run = _run(pace.unfinished_stage(), liveness)
    findings = [*run_stalled(run), *run_unfinished(run)]
    assert [finding.code for finding in findings] == codes
    assert [part for finding in findings for part in unsaid(finding)] == []


def test_only_a_sure_end_asks_for_a_look() -> None:
    gone = [Liveness(False, how, 1e6) for how in ("lock-free", "rows-old")]
    severities = [next(run_unfinished(_run(pace.unfinished_stage(), one))).severity for one in gone]
    assert severities == [Severity.WATCH, Severity.INFO]


@pytest.mark.parametrize(("beyond", "whole", "asked"), [(1, True, True), (0, True, False), (1, False, False)])
def test_a_run_that_saved_its_last_step_was_asked_to_stop(beyond: int, whole: bool, asked: bool) -> None:
    stage = pace.unfinished_stage()
    step = int(stage.kept.steps[-1]) + beyond
    stage = replace(stage, checkpoints=(Checkpoint(step, f"step_{step}", 3, 3, whole),))
    (finding,) = run_unfinished(_run(stage, Liveness(False, "lock-free", 1e6)))
    assert ("asked to stop" in Language.choose("en").finding(finding, "cause", {})) == asked
    assert ("要求停止" in Language.choose("zh").finding(finding, "cause", {})) == asked
    assert unsaid(finding) == []


def test_a_run_that_stopped_itself_was_not_ended_from_outside() -> None:
    stage = pace.unfinished_stage()
    for step, itself in ((400, True), (300, False)):  # before the last row: training went on since
        decisions = Decisions("gates.jsonl", 20, made=(Decided(step, "stop", "loss-diverging"),))
        run = _run(replace(stage, decisions=decisions), Liveness(False, "lock-free", 1e6))
        (finding,) = run_unfinished(run)
        assert ("A gate found" in Language.choose("en").finding(finding, "cause", {})) == itself
        assert ("自行停止" in Language.choose("zh").finding(finding, "message", {})) == itself
        assert unsaid(finding) == []


def test_nobody_is_sent_back_to_a_checkpoint_that_is_not_there() -> None:
    stage = pace.unfinished_stage()
    saved = Checkpoint(300, "step_300", 3, 3, True)
    for checkpoints, actions in (((), ()), ((saved,), ("restart-from-checkpoint",))):
        run = _run(replace(stage, checkpoints=checkpoints), Liveness(False, "lock-free", 1e6))
        assert next(run_unfinished(run)).actions == actions


def test_where_no_step_is_left_none_is_reckoned_with() -> None:
    patient = pace.slowed(np.random.default_rng(5)).stage
    last = int(patient.kept.steps[-1])
    for planned, left in ((last + 1, False), (last + 1000, True)):
        (finding,) = throughput_dropped(replace(patient, plan=Plan(steps=planned)))
        assert ("remaining" in finding.values) == left
        assert unsaid(finding) == []


def test_a_stage_that_reached_its_end_is_neither_stalled_nor_unfinished() -> None:
    for alive in (True, False):
        run = _run(pace.unfinished_stage(rows=1000), Liveness(alive, "process", 1e6))
        assert [*run_stalled(run), *run_unfinished(run)] == []


def test_the_pace_leaves_restarts_out() -> None:
    stage = pace.slept(np.random.default_rng(1)).stage
    history = stage.history
    assert history is not None
    assert len(history.restarts) == 1
    found_pace = Pace.of(history)
    assert found_pace.intervals == history.rows - 2
    assert (found_pace.seconds_N > 0).all()
