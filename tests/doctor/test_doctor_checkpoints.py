"""What is said of checkpoints: sick stages and healthy ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from patients.trial import ask, unsaid
from terrarium.doctor.causes import link
from terrarium.doctor.detectors import STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Evidence, Kind, Plan, StageEvidence
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.saved import Checkpoint

DETECTORS = [detector for detector in STAGE_DETECTORS if code_of(detector).startswith("checkpoint-")]


def saved(flaws: Sequence[str]) -> tuple[Checkpoint, ...]:
    """A checkpoint every 2,000 steps for each flaw; "" is a whole one."""
    return tuple(
        Checkpoint(
            2000 * place,
            f"dynamics_step_{2000 * place}",
            -1 if flaw else 3,
            3,
            not flaw,
            flaw,
            flaw and "x.pt",
        )
        for place, flaw in enumerate(flaws)
    )


def stage(flaws: Sequence[str], processes: int | None = None) -> StageEvidence:
    return StageEvidence(
        "dynamics", Kind.TREE, plan=Plan(several_writers=processes), checkpoints=saved(flaws)
    )


def said(flaws: Sequence[str], processes: int | None = None) -> dict[str, Finding]:
    found = ask(DETECTORS, stage(flaws, processes))
    assert not [part for finding in found for part in unsaid(finding)]
    return {finding.code: finding for finding in found}


@pytest.mark.parametrize("flaws", [[], [""], [""] * 26])
def test_of_whole_ones_nothing_is_said(flaws: Sequence[str]) -> None:
    assert not said(flaws)


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("empty", "checkpoint-empty"),
        ("damaged", "checkpoint-damaged"),
        ("incomplete", "checkpoint-damaged"),
        ("not-finite", "checkpoint-not-finite"),
        ("all-zero", "checkpoint-zero"),
        ("wrong-step", "checkpoint-wrong-step"),
        ("hostile", "checkpoint-hostile"),
        ("foreign", "checkpoint-foreign"),
    ],
)
def test_every_flaw_has_a_name(flaw: str, code: str) -> None:
    found = said(["", flaw, "", ""])
    assert set(found) == {code}
    assert (found[code].first_step, found[code].last_step, found[code].values["count"]) == (2000, 2000, 1)


@pytest.mark.parametrize("flaw", ["foreign", "unreadable", "too-large"])
def test_what_could_not_be_judged_does_not_make_the_newest_unusable(flaw: str) -> None:
    assert "checkpoint-newest-unusable" not in said(["", "", flaw])


def test_the_newest_is_unusable_and_an_older_one_is_not() -> None:
    newest = said(["", "", "damaged", "empty"])["checkpoint-newest-unusable"]
    assert newest.severity is Severity.WATCH
    assert (newest.values["resume_step"], newest.values["lost"]) == (2000, 4000)


@pytest.mark.parametrize("flaw", ["empty", "damaged", "not-finite", "all-zero"])
def test_where_none_is_usable_it_is_critical(flaw: str) -> None:
    found = said([flaw, flaw])
    assert {finding.severity for finding in found.values()} == {Severity.CRITICAL}
    assert "checkpoint-newest-unusable" in found


def test_an_old_damaged_one_is_only_worth_a_look() -> None:
    assert said(["damaged", "", ""])["checkpoint-damaged"].severity is Severity.WATCH


def test_weights_that_are_not_finite_now_are_critical_and_older_ones_are_not() -> None:
    assert said(["", "not-finite"])["checkpoint-not-finite"].severity is Severity.CRITICAL
    assert said(["not-finite", ""])["checkpoint-not-finite"].severity is Severity.WATCH


def test_several_writers_are_named_where_the_configuration_has_several() -> None:
    empty = said(["empty"] * 13 + [""] + ["empty"] * 8 + [""] + ["empty"] * 3, processes=2)[
        "checkpoint-empty"
    ]
    assert (empty.cause, empty.severity) == ("several-writers", Severity.CRITICAL)
    assert (empty.values["count"], empty.values["total"], empty.values["processes"]) == (24, 26, 2)


def test_several_writers_are_named_where_whole_ones_lie_between() -> None:
    assert said(["empty", "", "empty", "empty"])["checkpoint-empty"].cause == "several-writers"


@pytest.mark.parametrize(("flaws", "processes"), [(["empty", "empty", ""], 1), (["", "", "empty"], 2)])
def test_several_writers_are_not_named_without_support(flaws: Sequence[str], processes: int) -> None:
    assert said(flaws, processes)["checkpoint-empty"].cause == ""


def test_the_unusable_newest_follows_from_what_is_wrong_with_it() -> None:
    ill = stage(["", "empty", "empty"])
    findings = link(ask(DETECTORS, ill), Evidence(path=None, stages={"dynamics": ill}))  # type: ignore[arg-type]
    assert [(finding.code, finding.caused_by) for finding in findings] == [
        ("checkpoint-empty", None),
        ("checkpoint-newest-unusable", 0),
    ]
