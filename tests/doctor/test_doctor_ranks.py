"""Several processes: the same clips, one that is late, clocks that differ, and what only looks so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patients import ranks, table
from patients.trial import HELD_OUT, unsaid
from terrarium.doctor.detectors.checkpoints import checkpoint_empty
from terrarium.doctor.detectors.ranks import rank_clocks_differ, rank_slower, ranks_share_clips
from terrarium.doctor.detectors.refused import checkpoint_refused, every_rank_saves
from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.examine import examine
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.language import Language
from terrarium.doctor.ranks import Stretch

DETECTORS: dict[str, Callable[[StageEvidence], Iterator[Finding]]] = {
    "rank-slower": rank_slower,
    "ranks-share-clips": ranks_share_clips,
    "rank-clocks-differ": rank_clocks_differ,
}
SICK = [(code, kind) for code, kinds in ranks.SICK.items() for kind in kinds]
STEPS, TYPICAL = 600, 0.1


def steady(count: int, steps: int = STEPS) -> Stretch:
    """Ranks that are ready after 0.1 s, within a tenth, and take as long again for the rest of a step."""
    rng = np.random.default_rng(3)
    ready_NR = TYPICAL * rng.uniform(0.9, 1.1, (steps, count))
    ends = ranks.BEGAN + np.cumsum(ready_NR.max(axis=1) + TYPICAL)
    clips_NR = rng.integers(0, 2**32, (steps, count))
    return Stretch(np.arange(steps, dtype=np.float64), ready_NR, clips_NR, np.tile(ends[:, None], count))


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    assert unsaid(finding) == []
    return finding


@pytest.mark.parametrize(("code", "kind"), SICK)
def test_the_sick_are_found(code: str, kind: str) -> None:
    stages = [ranks.SICK[code][kind](np.random.default_rng(seed)) for seed in HELD_OUT]
    found = [finding for stage in stages for finding in DETECTORS[code](stage)]
    assert len(found) >= 0.85 * len(stages)
    assert {finding.severity for finding in found} <= {Severity.WATCH, Severity.CRITICAL}


@pytest.mark.parametrize("kind", ranks.HEALTHY)
def test_the_healthy_are_left_alone(kind: str) -> None:
    stages = [ranks.HEALTHY[kind](np.random.default_rng(seed)) for seed in HELD_OUT]
    for detector in DETECTORS.values():
        assert [finding.values for stage in stages for finding in detector(stage)] == []


def test_a_late_rank_is_named_with_since_when_and_what_it_costs() -> None:
    stretch = steady(3)
    stretch.ready_NR[400:, 1] += 2 * TYPICAL
    ends = ranks.BEGAN + np.cumsum(stretch.ready_NR.max(axis=1) + TYPICAL)
    finding = only(rank_slower(ranks.stage_of(replace(stretch, clock_NR=np.tile(ends[:, None], 3)))))
    assert finding.severity is Severity.WATCH
    assert finding.values["rank"] == 1
    assert finding.first_step == pytest.approx(400, abs=20)
    assert finding.values["times"] == pytest.approx(3, rel=0.05)
    assert finding.values["milliseconds"] == pytest.approx(200, rel=0.05)
    assert finding.values["lost_seconds"] == pytest.approx(40, rel=0.1)


def test_a_late_rank_of_a_run_that_is_over_in_a_moment_is_nobody_s_concern() -> None:
    stretch = steady(2, steps=40)
    stretch.ready_NR[:, 1] *= 3
    quick = replace(stretch, ready_NR=stretch.ready_NR / 20, clock_NR=ranks.BEGAN + stretch.clock_NR / 20)
    assert list(rank_slower(ranks.stage_of(stretch)))
    assert not list(rank_slower(ranks.stage_of(quick)))


def test_the_first_rank_draws_and_saves_and_is_no_straggler() -> None:
    stretch = steady(2)
    stretch.ready_NR[::10, 0] += 3.0
    assert not list(rank_slower(ranks.stage_of(stretch)))


def test_a_small_cost_is_none_however_often_it_comes() -> None:
    stretch = steady(2)
    slow_steps = replace(stretch, clock_NR=ranks.BEGAN + np.tile(5.0 * stretch.steps_N[:, None], 2))
    slow_steps.ready_NR[:, 1] *= 3  # 0.2 s of steps of 5 s
    assert not list(rank_slower(ranks.stage_of(slow_steps)))


def test_one_seed_for_all_is_critical_while_it_lasts() -> None:
    stretch = steady(4)
    stretch.clips_NR[:] = stretch.clips_NR[:, :1]
    finding = only(ranks_share_clips(ranks.stage_of(stretch)))
    assert finding.severity is Severity.CRITICAL
    assert (finding.first_step, finding.last_step) == (0, STEPS - 1)
    assert (finding.values["ranks"], finding.values["met"], finding.values["total"]) == (
        "0, 1, 2, 3",
        STEPS,
        STEPS,
    )
    assert finding.values["different"] == 1
    over = replace(steady(4, 600), steps_N=STEPS + np.arange(600.0))
    passed = only(ranks_share_clips(ranks.stage_of(stretch, over)))
    assert passed.severity is Severity.WATCH
    assert passed.last_step == STEPS - 1


def test_two_of_eight_are_worth_a_look_and_named() -> None:
    stretch = steady(8)
    stretch.clips_NR[200:, 6] = stretch.clips_NR[200:, 2]
    finding = only(ranks_share_clips(ranks.stage_of(stretch)))
    assert finding.severity is Severity.WATCH
    assert finding.values["ranks"] == "2, 6"
    assert (finding.first_step, finding.values["met"]) == (200, 400)
    assert finding.values["different"] == 7


def test_six_steps_are_enough_and_one_meeting_in_ten_is_not() -> None:
    stretch = steady(2, steps=6)
    stretch.clips_NR[:, 1] = stretch.clips_NR[:, 0]
    assert only(ranks_share_clips(ranks.stage_of(stretch))).severity is Severity.CRITICAL
    for seed in range(20):
        rare = steady(2)
        met = np.random.default_rng(seed).random(STEPS) < 0.1
        rare.clips_NR[met, 1] = rare.clips_NR[met, 0]
        assert not list(ranks_share_clips(ranks.stage_of(rare)))


@pytest.mark.parametrize("places", [1, 2, 4, 30])
def test_ranks_that_meet_by_chance_on_tiny_footage_are_healthy(places: int) -> None:
    for seed in range(20):
        stretch = steady(2, steps=400)
        stretch.clips_NR[:] = np.random.default_rng(seed).integers(0, places, stretch.clips_NR.shape)
        assert stretch.repeated_NR.any()
        assert not list(ranks_share_clips(ranks.stage_of(stretch)))


@pytest.mark.parametrize(
    ("seconds", "severity"), [(90.0, Severity.WATCH), (-90.0, Severity.WATCH), (4.0, Severity.INFO)]
)
@pytest.mark.parametrize("count", [2, 5])
def test_a_clock_that_is_off_is_told_by_how_much(count: int, seconds: float, severity: Severity) -> None:
    stretch = steady(count)
    stretch.clock_NR[300:, 1] += seconds
    finding = only(rank_clocks_differ(ranks.stage_of(stretch)))
    assert finding.severity is severity
    assert finding.values["rank"] == 1
    assert finding.values["ahead" if seconds > 0 else "behind"] == pytest.approx(abs(seconds), abs=0.1)
    assert finding.first_step == pytest.approx(300, abs=20)
    assert abs(finding.evidence[0].number) <= abs(seconds)


def test_what_was_refused_on_another_rank_is_explained() -> None:
    """The seed's fault: every process saves one path, and only the first has the state."""
    stage = table.put_aside(table.REFUSED[0], 50, steady(2))
    finding = only(every_rank_saves(stage))
    assert finding.severity is Severity.CRITICAL
    assert not list(checkpoint_refused(stage)), "one illness, one finding"
    diagnosis = examine(Evidence(Path("run"), stage.kind, stages={"dynamics": stage}))
    assert diagnosis.findings[0].code == "every-rank-saves"
    said = Language.choose("en")
    assert "0 keys" in said.finding(finding, "message", {})
    assert "all 2 processes save to one path" in said.finding(finding, "cause", {})
    assert "fix-checkpoint-writer" in [code for code, _ in diagnosis.actions]


def test_once_a_later_checkpoint_is_whole_it_is_only_told() -> None:
    assert only(every_rank_saves(table.put_aside(table.REFUSED[0], 60, steady(2)))).severity is Severity.INFO


def test_what_one_process_was_refused_is_told_by_what_is_wrong_with_it() -> None:
    messages = [
        Language.choose("en").finding(only(checkpoint_refused(table.put_aside(each, 40))), "message", {})
        for each in table.REFUSED
    ]
    for message, words in zip(
        messages, ("0 keys", "empty in part", "not finite", "did not fit"), strict=True
    ):
        assert words in message
    in_shards = table.put_aside(replace(table.REFUSED[0], in_shards=True), 40, steady(2))
    assert not list(every_rank_saves(in_shards)), "each had its own to save"
    partly = table.put_aside(table.REFUSED[1], 40, steady(2))
    assert not list(every_rank_saves(partly)), "a state that has some keys was gathered"
    assert list(checkpoint_refused(partly))


def test_empty_checkpoints_come_from_the_processes_that_said_so() -> None:
    saved = table.saved(("", "empty", "empty", ""))
    assert only(checkpoint_empty(saved)).cause == ""
    told = only(checkpoint_empty(replace(saved, ranks=ranks.stage_of(steady(3)).ranks)))
    assert (told.cause, told.values["processes"]) == ("several-writers", 3)
