"""Findings in words: as `report.json` holds them, and as the page shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.finding import Finding
from terrarium.doctor.json_files import JsonObject, number
from terrarium.doctor.language import Language
from terrarium.doctor.wording import NOTHING, plain

PARTS = ("title", "message", "cause")


@dataclass(frozen=True)
class FindingView:
    """One finding in words.

    Attributes:
        number: its number on the page, from 1: its place in the list, plus one.
        code: of its detector.
        severity: "info", "watch" or "critical".
        stage: the stage's name, or None for the whole run.
        where: the stage in words.
        when: the steps in words, or "".
        first_step: where it began, or None.
        last_step: where it ended, or None.
        title: a phrase.
        message: what was seen.
        cause: where it most likely comes from, or "".
        refuted_by: what would refute it, or "".
        sure: the confidence in words.
        evidence: (name, number, threshold, file) of each number.
        actions: what to do about it.
        follows: number of the finding that it follows from, or None: then it leads.
        followers: the findings that follow from it, directly or by others.
    """

    number: int
    code: str
    severity: str
    stage: str | None
    where: str
    when: str
    first_step: int | None
    last_step: int | None
    title: str
    message: str
    cause: str
    refuted_by: str
    sure: str
    evidence: tuple[tuple[str, str, str, str], ...]
    actions: tuple[str, ...]
    follows: int | None
    followers: tuple[FindingView, ...] = ()


@dataclass(frozen=True)
class ActionView:
    """Something to do, and the finding that asks for it."""

    text: str
    finding: FindingView


def finding_documents(diagnosis: Diagnosis, language: Language) -> list[JsonObject]:
    """The findings as `report.json` holds them, most important first."""
    return [_document(finding, diagnosis, language) for finding in diagnosis.findings]


def action_sentences(diagnosis: Diagnosis, language: Language) -> list[str]:
    """What to do next, in order."""
    return [
        action_sentence(code, diagnosis.findings[place], diagnosis, language)
        for code, place in diagnosis.actions
    ]


def action_sentence(code: str, finding: Finding, diagnosis: Diagnosis, language: Language) -> str:
    """One action in words, with the values of the finding that asks for it."""
    return language.say("actions", code, **{**_context(finding, diagnosis, language), **finding.values})


def _document(finding: Finding, diagnosis: Diagnosis, language: Language) -> JsonObject:
    context = _context(finding, diagnosis, language)
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "stage": finding.stage,
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        **{part: language.finding(finding, part, context) for part in PARTS},
        "confidence": finding.confidence,
        "refuted_by": language.finding(finding, "refuted_by", context),
        "evidence": [asdict(number) | {"file": plain(number.file)} for number in finding.evidence],
        "actions": [action_sentence(code, finding, diagnosis, language) for code in finding.actions],
        "caused_by": finding.caused_by,
    }


def _context(finding: Finding, diagnosis: Diagnosis, language: Language) -> dict[str, Any]:
    """What every sentence about a finding may mention, whether or not the finding has it among its values."""
    stage = diagnosis.evidence.stages.get(finding.stage or "")
    newest = max(((one.step, one.name) for one in stage.usable), default=None) if stage else None
    return {
        "stage": language.stage(finding.stage),
        "first_step": finding.first_step,
        "last_step": finding.last_step,
        "checkpoint": newest[1] if newest else None,
        "resume_step": newest[0] if newest else None,
    }


def finding_views(document: JsonObject, language: Language) -> tuple[FindingView, ...]:
    """The findings of a document as the page shows them."""
    entries = document["findings"]
    plain_views = [_view(place, entry, language) for place, entry in enumerate(entries)]
    followers: dict[int, list[FindingView]] = {}
    for place, view in enumerate(plain_views):
        if view.follows is not None:
            followers.setdefault(_root(entries, place), []).append(view)
    return tuple(
        FindingView(**{**view.__dict__, "followers": tuple(followers.get(place, ()))})
        for place, view in enumerate(plain_views)
    )


def _root(entries: list[JsonObject], place: int) -> int:
    for _ in entries:
        cause = entries[place]["caused_by"]
        if cause is None:
            break
        place = cause
    return place


def _view(place: int, entry: JsonObject, language: Language) -> FindingView:
    cause = entry["caused_by"]
    return FindingView(
        number=place + 1,
        follows=None if cause is None else cause + 1,
        where=language.stage(entry["stage"]),
        when=_when(entry["first_step"], entry["last_step"], language),
        sure=language.say("page", "sure", share=language.share(entry["confidence"]).replace(".0", "")),
        evidence=tuple(_evidence(item, language) for item in entry["evidence"]),
        actions=tuple(entry["actions"]),
        **{
            key: entry[key]
            for key in (
                *("code", "severity", "stage", "first_step", "last_step"),
                *("title", "message", "cause", "refuted_by"),
            )
        },
    )


def _when(first: int | None, last: int | None, language: Language) -> str:
    if first is None:
        return ""
    if last == first:
        return language.say("page", "at_step", first=first)
    return language.say("page", "steps", first=first, last=last)


def _evidence(item: JsonObject, language: Language) -> tuple[str, str, str, str]:
    value, threshold = (item[key] for key in ("number", "threshold"))
    shown = language.amount(value, item["unit"]) if number(value) is not None else plain(value)
    held = NOTHING if threshold is None else language.amount(number(threshold), item["unit"])
    return language.named(item["name"]), shown, held, item["file"]


def action_views(
    diagnosis: Diagnosis, document: JsonObject, findings: tuple[FindingView, ...]
) -> tuple[ActionView, ...]:
    """What to do next, in order, each with the finding that asks for it."""
    places = [place for _, place in diagnosis.actions]
    return tuple(
        ActionView(text, findings[place]) for text, place in zip(document["actions"], places, strict=True)
    )
