"""Causes and what follows from them, on findings made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrarium.doctor.causes import EXPLAINED_BY, link
from terrarium.doctor.detectors import RUN_DETECTORS, STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Evidence, Kind, Liveness, Missing, StageEvidence
from terrarium.doctor.examine import ORDER_OF_ACTIONS, examine, next_actions
from terrarium.doctor.finding import Finding, Severity, Verdict, worst
from terrarium.doctor.history import History
from terrarium.doctor.language import Language
from terrarium.doctor.saved import Checkpoint
from terrarium.doctor.view_findings import action_sentence

INFO, WATCH, CRITICAL = Severity.INFO, Severity.WATCH, Severity.CRITICAL
CODES = sorted({*EXPLAINED_BY, *(cause for causes in EXPLAINED_BY.values() for cause in causes)})


def evidence(*stages: str, rows: int = 1000) -> Evidence:
    history = History({"step": np.arange(rows, dtype=np.float64)})
    return Evidence(Path("run"), stages={name: StageEvidence(name, history=history) for name in stages})


def found(
    code: str, severity: Severity = CRITICAL, stage: str = "dynamics", step: int | None = 100
) -> Finding:
    return Finding(code, severity, stage, step, 999)


def chains(findings: tuple[Finding, ...]) -> dict[str, str | None]:
    return {one.code: None if one.caused_by is None else findings[one.caused_by].code for one in findings}


def test_one_illness_has_one_lead_whatever_the_order() -> None:
    symptoms = [
        found("picture-blocks", step=200),
        found("loss-worse-than-chance", step=120),
        found("loss-diverging", step=110),
        found("learning-rate-too-high", WATCH, step=100),
    ]
    for findings in (symptoms, symptoms[::-1]):
        linked = link(findings, evidence("dynamics"))
        assert linked[0].code == "learning-rate-too-high"
        assert linked[0].severity is CRITICAL, "as severe as what follows from it"
        assert [one.caused_by for one in linked] == [None, 0, 0, 0]


def test_a_cause_must_not_begin_after_its_effect() -> None:
    linked = link(
        [found("loss-diverging", step=100), found("codebook-collapsed", step=600)], evidence("dynamics")
    )
    assert chains(linked) == {"loss-diverging": None, "codebook-collapsed": "loss-diverging"}


def test_of_two_that_explain_each_other_the_first_leads() -> None:
    for first, second in (("gradient-exploding", "loss-diverging"), ("loss-diverging", "gradient-exploding")):
        linked = link([found(second, step=300), found(first, step=100)], evidence("dynamics"))
        assert chains(linked) == {first: None, second: first}


def test_what_is_only_worth_knowing_explains_nothing() -> None:
    linked = link([found("loss-diverging"), found("learning-rate-too-high", INFO)], evidence("dynamics"))
    assert chains(linked)["loss-diverging"] is None


def test_stages_are_kept_apart_but_pictures_come_through_the_tokenizer() -> None:
    findings = [
        found("picture-blocks", stage="dynamics"),
        found("loss-diverging", stage="dynamics", step=500),
        found("picture-flat", stage="video_tokenizer"),
        found("actions-narrow", WATCH, "latent_actions"),
    ]
    linked = link(findings, evidence("video_tokenizer", "latent_actions", "dynamics"))
    assert chains(linked) == {
        "picture-flat": None,
        "picture-blocks": "picture-flat",
        "loss-diverging": None,
        "actions-narrow": None,
    }


def test_a_stage_can_not_be_better_than_the_one_it_is_built_on() -> None:
    rows = {"step": np.arange(2000.0), "loss": np.full(2000, 0.1)}
    falling = {"step": np.arange(2000.0), "loss": 2 + 5 * np.exp(-np.arange(2000.0) / 300)}
    stages = {
        "video_tokenizer": StageEvidence("video_tokenizer", source="tokenizer.csv", history=History(rows)),
        "dynamics": StageEvidence("dynamics", source="dynamics.csv", history=History(falling)),
    }
    diagnosis = examine(Evidence(Path("run"), stages=stages))
    assert chains(diagnosis.findings) == {"loss-constant": None, "upstream-unsound": "loss-constant"}
    assert diagnosis.stages["dynamics"] is Verdict.WATCH
    assert "retrain-upstream" in [action for action, _ in diagnosis.actions]


def test_narrow_actions_do_not_explain_a_loss_that_rises() -> None:
    findings = [found("actions-narrow", WATCH, "latent_actions"), found("loss-diverging", step=300)]
    linked = link(findings, evidence("latent_actions", "dynamics"))
    assert chains(linked) == {"loss-diverging": None, "actions-narrow": None}


def test_a_loss_that_rises_is_its_own_stage_s_affair() -> None:
    findings = [found("codebook-collapsed", CRITICAL, "video_tokenizer"), found("loss-diverging", step=300)]
    linked = link(findings, evidence("video_tokenizer", "dynamics"))
    assert chains(linked)["loss-diverging"] is None


def test_critical_comes_before_watch_before_info() -> None:
    findings = [
        found("steps-missing", INFO),
        found("throughput-dropped", WATCH),
        found("checkpoint-empty"),
        found("loss-diverging"),
    ]
    linked = link(findings, evidence("dynamics"))
    codes = [one.code for one in linked]
    assert codes == ["loss-diverging", "checkpoint-empty", "throughput-dropped", "steps-missing"]


@given(
    st.lists(
        st.builds(
            Finding,
            st.sampled_from(CODES),
            st.sampled_from(Severity),
            st.sampled_from(["video_tokenizer", "latent_actions", "dynamics", None]),
            st.none() | st.integers(0, 999),
            confidence=st.floats(0, 1),
        ),
        max_size=12,
    )
)
def test_any_findings_are_linked_without_cycles_and_none_is_lost(findings: list[Finding]) -> None:
    linked = link(findings, evidence("video_tokenizer", "latent_actions", "dynamics"))
    assert sorted(one.code for one in linked) == sorted(one.code for one in findings)
    ranks = [list(Severity)[::-1].index(one.severity) for one in linked]
    assert ranks == sorted(ranks)
    for place, finding in enumerate(linked):
        for _ in linked:
            cause = linked[place].caused_by
            if cause is None:
                break
            assert list(Severity).index(linked[cause].severity) >= list(Severity).index(finding.severity)
            place = cause  # noqa: PLW2901 - following the chain
        else:
            pytest.fail("a cycle")


def test_every_code_that_explains_or_is_explained_has_a_detector() -> None:
    detectors = {*map(code_of, STAGE_DETECTORS), *map(code_of, RUN_DETECTORS)}
    assert set(CODES) <= detectors


def test_the_worst_verdict_wins_and_what_is_unknown_is_worse_than_watch() -> None:
    assert worst([Verdict.NORMAL, Verdict.WATCH]) is Verdict.WATCH
    assert worst([Verdict.UNKNOWN, Verdict.WATCH]) is Verdict.UNKNOWN
    assert worst([Verdict.UNKNOWN, Verdict.CRITICAL]) is Verdict.CRITICAL
    assert worst([]) is Verdict.UNKNOWN


def test_actions_are_those_of_leads_in_the_order_of_doing() -> None:
    lead = Finding("learning-rate-too-high", CRITICAL, actions=("smoke-test", "lower-learning-rate"))
    symptom = Finding("loss-diverging", CRITICAL, actions=("clip-gradients",), caused_by=0)
    other = Finding("checkpoint-empty", CRITICAL, actions=("fix-checkpoint-writer", "smoke-test"))
    assert next_actions((lead, symptom, other)) == (
        ("fix-checkpoint-writer", 2),
        ("lower-learning-rate", 0),
        ("smoke-test", 0),
    )
    assert len(set(ORDER_OF_ACTIONS)) == len(ORDER_OF_ACTIONS)


def test_missing_evidence_makes_a_stage_unknown_only_where_it_matters() -> None:
    stages = {name: StageEvidence(name, Kind.TREE) for name in ("latent_actions", "dynamics")}
    missing = (
        Missing("latent_actions", "pictures", "none"),
        Missing("dynamics", "history", "none", essential=True),
    )
    diagnosis = examine(Evidence(Path("run"), Kind.TREE, stages=stages, missing=missing))
    assert diagnosis.stages["dynamics"] is Verdict.UNKNOWN
    assert diagnosis.stages["latent_actions"] is Verdict.NORMAL
    assert diagnosis.verdict is Verdict.UNKNOWN


def test_a_broken_detector_costs_neither_the_report_nor_goes_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss_broken(stage: StageEvidence) -> None:
        raise ZeroDivisionError(stage.name)

    monkeypatch.setattr("terrarium.doctor.examine.STAGE_DETECTORS", (loss_broken,))
    diagnosis = examine(evidence("dynamics"))
    assert diagnosis.verdict is Verdict.UNKNOWN
    (missing,) = diagnosis.evidence.missing
    assert (missing.what, missing.why, missing.stage) == ("detector", "failed", "dynamics")
    assert "loss-broken" in missing.detail


def test_a_critical_lead_names_the_checkpoint_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss_diverging(stage: StageEvidence) -> list[Finding]:
        return [Finding("loss-diverging", CRITICAL, stage.name, 450, 999, actions=("lower-learning-rate",))]

    monkeypatch.setattr("terrarium.doctor.examine.RUN_DETECTORS", ())
    monkeypatch.setattr("terrarium.doctor.examine.STAGE_DETECTORS", (loss_diverging,))
    checkpoints = tuple(
        Checkpoint(step, f"dynamics_step_{step}", 3, 3, whole)
        for step, whole in ((200, True), (400, True), (600, True), (800, False))
    )
    stage = StageEvidence("dynamics", Kind.TREE, checkpoints=checkpoints)
    for alive, first in ((True, "freeze-run"), (None, "freeze-run"), (False, "keep-checkpoint")):
        liveness = Liveness(alive, "lock-held", 1.0)
        diagnosis = examine(Evidence(Path("run"), Kind.TREE, stages={"dynamics": stage}, liveness=liveness))
        assert [action for action, _ in diagnosis.actions] == [first, "lower-learning-rate"]
        (finding,) = diagnosis.findings
        assert finding.values["checkpoint"] == "dynamics_step_400", "the last one before the onset"
        assert "dynamics_step_400" in action_sentence(first, finding, diagnosis, Language.choose("zh"))
