"""The seed's run, rebuilt from its published figures: what took people a day, in one command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patients import zelda
from patients.trial import until
from terrarium.doctor.evidence import Evidence
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.finding import Finding, Severity, Verdict
from terrarium.doctor.language import Language
from terrarium.doctor.measures import stage_numbers
from terrarium.doctor.report import describe, diagnose


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    root = zelda.build(tmp_path_factory.mktemp("zelda") / "run", copies=("csv",))
    return diagnose((root,))


def of(diagnosis: Diagnosis, code: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.code == code)


PUBLISHED = {
    "video_tokenizer": (40_000, 39_999, "0.1469", "0.001531", "0.000432", "0.001753"),
    "latent_actions": (10_000, 9999, "1.0465", "0.02886", "0.01307", "0.02555"),
    "dynamics": (50_344, 50_343, "1.7785", "6.0698", "1.4388", "5.6808"),
}


@pytest.mark.parametrize("stage", PUBLISHED)
def test_rows_and_losses_are_those_of_the_report(diagnosis: Diagnosis, stage: str) -> None:
    rows, last_step, *losses = PUBLISHED[stage]
    numbers = stage_numbers(diagnosis.evidence.stages[stage])
    assert (numbers["rows"], numbers["last_step"]) == (rows, last_step)
    for name, printed in zip(("first", "last", "min", "median"), losses, strict=True):
        decimals = len(printed.partition(".")[2])
        assert f"{numbers['loss'][name]:.{decimals}f}" == printed, name


def test_windows_speeds_and_the_time_that_is_left_are_those_of_the_report(diagnosis: Diagnosis) -> None:
    numbers = stage_numbers(diagnosis.evidence.stages["dynamics"])
    means = [f"{window['mean']:.3f}" for window in numbers["loss_windows"]]
    assert means == ["3.866", "5.054", "5.730", "6.043", "6.423"]
    assert [window["first_step"] for window in numbers["loss_windows"]] == [0, 10_000, 20_000, 30_000, 40_000]
    assert f"{numbers['steps_per_second']:.4f}" == "0.3701"
    assert f"{numbers['steps_per_second_recent']:.4f}" == "0.2601"
    assert numbers["remaining_steps"] == 249_657
    assert f"{numbers['eta_hours']:.1f} {numbers['eta_hours_recent']:.1f}" == "187.4 266.6"


def test_entropy_and_actions_are_those_of_the_report(diagnosis: Diagnosis) -> None:
    measures = stage_numbers(diagnosis.evidence.stages["latent_actions"])["measures"]
    entropy, unique = measures["action_entropy"], measures["unique_actions"]
    assert [f"{entropy[name]:.4f}" for name in ("min", "max", "last")] == ["0.3768", "1.2432", "0.4826"]
    assert [unique[name] for name in ("min", "max", "last")] == [2, 5, 2]


def test_the_verdicts_are_those_of_the_report(diagnosis: Diagnosis) -> None:
    assert diagnosis.verdict is Verdict.CRITICAL
    assert diagnosis.stages == {
        "video_tokenizer": Verdict.NORMAL,
        "latent_actions": Verdict.WATCH,
        "dynamics": Verdict.CRITICAL,
    }


def test_two_of_26_checkpoints_are_usable_and_44000_is_the_one_to_keep(diagnosis: Diagnosis) -> None:
    judged = describe(diagnosis, Language.choose("en"))["checkpoints"]["dynamics"]
    assert (judged["total"], judged["usable"], judged["resume_from"]) == (26, 2, 44_000)
    empty = of(diagnosis, "checkpoint-empty")
    assert (empty.severity, empty.cause) == (Severity.CRITICAL, "several-writers")


def test_the_learning_rate_over_its_horizon_leads_and_the_rest_follows(diagnosis: Diagnosis) -> None:
    lead = diagnosis.findings[0]
    assert (lead.code, lead.stage, lead.cause) == (
        "learning-rate-too-high",
        "dynamics",
        "rate-over-its-horizon",
    )
    assert lead.values["rate"] == pytest.approx(0.01)
    assert lead.values["planned"] == 300_000
    assert f"{lead.values['rate_now']:.4f}" == "0.0096"
    assert lead.values["suggested_rate"] == pytest.approx(5e-4)
    assert lead.first_step is not None
    assert lead.first_step < 0.05 * 50_343
    for code in ("loss-diverging", "loss-worse-than-chance", "picture-stripes"):
        assert of(diagnosis, code).caused_by == 0, code


def test_the_sentences_of_the_lead_carry_its_numbers(diagnosis: Diagnosis) -> None:
    for language in ("en", "zh"):
        found = describe(diagnosis, Language.choose(language))["findings"][0]
        assert "0.0096" in found["message"]
        assert "0.01" in found["cause"]
        assert "{" not in found["message"] + found["cause"] + found["refuted_by"]


def test_the_unit_the_slowdown_and_the_narrow_actions_are_told(diagnosis: Diagnosis) -> None:
    unit, slow, narrow = (
        of(diagnosis, code) for code in ("loss-unit", "throughput-dropped", "actions-narrow")
    )
    assert (unit.values["factor"], unit.stage) == (4, "dynamics")
    assert f"{slow.values['overall']:.4f} {slow.values['recent']:.4f}" == "0.3701 0.2601"
    assert f"{slow.values['hours']:.1f} {slow.values['hours_recent']:.1f}" == "187.4 266.6"
    assert (narrow.stage, narrow.severity, narrow.caused_by) == ("latent_actions", Severity.WATCH, None)


def test_what_to_do_comes_in_a_sensible_order(diagnosis: Diagnosis) -> None:
    actions = [action for action, _ in diagnosis.actions]
    assert actions[:3] == ["freeze-run", "fix-checkpoint-writer", "lower-learning-rate"]
    assert actions.index("smoke-test") < actions.index("resume-before-onset") < actions.index("look-again")
    assert diagnosis.findings[diagnosis.actions[0][1]].values["checkpoint"] == "dynamics_step_44000"
    document = describe(diagnosis, Language.choose("en"))
    assert "dynamics_step_44000" in str(document["actions"][0])


def as_it_grew(diagnosis: Diagnosis, rows: int) -> Evidence:
    """What was there when dynamics had so many rows: neither pictures nor checkpoints to judge."""
    stage = diagnosis.evidence.stages["dynamics"]
    assert stage.history is not None
    young = replace(until(stage, rows / stage.history.rows), checkpoints=(), pictures=())
    return replace(diagnosis.evidence, stages={"dynamics": young}, missing=())


def test_followed_row_by_row_it_is_critical_before_step_2000_and_stays_so(diagnosis: Diagnosis) -> None:
    said = {rows: examine(as_it_grew(diagnosis, rows)).verdict for rows in range(100, 6001, 100)}
    critical = [rows for rows, verdict in said.items() if verdict is Verdict.CRITICAL]
    assert critical
    assert critical[0] < 2000
    assert critical == [rows for rows in said if rows >= critical[0]], "it does not flicker"


def test_other_stages_are_never_critical_while_they_train(diagnosis: Diagnosis) -> None:
    for name in ("video_tokenizer", "latent_actions"):
        stage = replace(diagnosis.evidence.stages[name], checkpoints=(), pictures=())
        assert stage.history is not None
        for rows in (100, 200, 300, 500, 800, 1200, 2000, 4000, 8000):
            evidence = replace(
                diagnosis.evidence, stages={name: until(stage, rows / stage.history.rows)}, missing=()
            )
            assert examine(evidence).verdict is not Verdict.CRITICAL, (name, rows)


def test_a_young_run_of_its_folder_is_told_too(tmp_path: Path) -> None:
    """The same tree when dynamics had 1,900 rows, read from its files."""
    root = zelda.build(
        tmp_path / "run", rows=1900, with_pictures=False, with_checkpoints=False, copies=("csv",)
    )
    assert diagnose((root,)).stages["dynamics"] is Verdict.CRITICAL
