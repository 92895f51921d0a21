"""A run in one paragraph."""

from __future__ import annotations

from collections.abc import Iterator

from terrarium.doctor.evidence import Evidence
from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.finding import Verdict
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.language import Language
from terrarium.doctor.scores import with_unit


def summary(diagnosis: Diagnosis, stages: JsonObject, language: Language) -> str:
    """The run in one paragraph: what is wrong, what was trained, and how it scored.

    Args:
        diagnosis: what was concluded.
        stages: the stages of `report.json`.
        language: in which to say it.
    """
    trained = {name: entry["numbers"] for name, entry in stages.items() if entry["numbers"].get("rows")}
    sentences = [_verdict(diagnosis, language), _treated(diagnosis.evidence, language)]
    if trained:
        sentences.append(_trained(diagnosis.evidence, trained, language))
        sentences.append(_scored(diagnosis.evidence.scores, language))
    else:
        sentences.append(language.say("summary", "untrained"))
    return language.joined(list(filter(None, sentences)))


def _verdict(diagnosis: Diagnosis, language: Language) -> str:
    say, verdict = language.say, diagnosis.verdict
    if verdict is Verdict.NORMAL or (verdict is Verdict.UNKNOWN and not diagnosis.findings):
        return say("summary", verdict.value)
    if not diagnosis.findings:
        return ""
    lead = diagnosis.findings[0]
    first = say(
        "summary",
        "found",
        verdict=language.capital(say("verdicts", verdict.value)),
        title=language.finding(lead, "title", {}),
        stage=language.stage(lead.stage),
        step=lead.first_step,
    )
    following = sum(finding.caused_by is not None for finding in diagnosis.findings)
    return language.joined([first, *([say("summary", "followed", count=following)] if following else [])])


def _treated(evidence: Evidence, language: Language) -> str:
    """How often training treated itself; what is normal now need not have been so all along."""
    decisions = [stage.decisions for stage in evidence.stages.values() if stage.decisions is not None]
    count = sum(each.resumed_from is not None for stage in decisions for each in stage.made)
    return language.say("summary", "treated", count=count) if count else ""


def _trained(evidence: Evidence, trained: JsonObject, language: Language) -> str:
    seconds = sum(numbers.get("seconds") or 0.0 for numbers in trained.values())
    what = language.say(
        "summary",
        "trained",
        stages=len(trained),
        names=language.listed([language.stage(name) for name in trained]),
        steps=sum(numbers["rows"] for numbers in trained.values()),
        data=evidence.run.get("data"),
    )
    key = "untimed" if not seconds else "took_on" if evidence.run.get("device") else "took"
    return language.say(
        "summary",
        key,
        trained=what,
        duration=language.duration(seconds),
        device=evidence.run.get("device"),
    )


def _scored(scores: JsonObject, language: Language) -> str:
    said = list(_scores(scores, language))
    if said:
        return language.say("summary", "scored", scores=language.say("summary", "semicolon").join(said))
    return language.say("summary", "unscored")


def _scores(scores: JsonObject, language: Language) -> Iterator[str]:
    tokenizer, actions, dynamics, play = (
        mapping(scores.get(key)) for key in ("video_tokenizer", "latent_actions", "dynamics", "play")
    )
    floor = number(actions.get("majority_accuracy"))
    found = (
        ("psnr", number(tokenizer.get("psnr")), "dB", None),
        ("accuracy", number(actions.get("accuracy")), "share", floor),
        ("delta", number(mapping(dynamics.get("delta_psnr_t4")).get("mean")), "dB", None),
        ("speed", number(play.get("frames_per_second")), "frames/s", None),
    )
    for key, value, unit, beside in found:
        if value is not None:
            text = with_unit(value, unit, language)
            below = None if beside is None else with_unit(beside, unit, language)
            yield language.say("summary", key, value=text, floor=below)
