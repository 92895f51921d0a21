"""What training decided at its gates, put into words: one sentence and its numbers for each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from terrarium.doctor.decisions import Decided, Decisions
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.language import Language
from terrarium.doctor.wording import NOTHING, figure, plain


@dataclass(frozen=True)
class DecisionsView:
    """The decisions of a stage.

    Attributes:
        words: how often training asked, and where that is written.
        rows: (step, what was decided, the log's own reason, its numbers by name) of each.
    """

    words: str
    rows: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...]


def decision_documents(decisions: Decisions | None, language: Language) -> JsonObject | None:
    """What `report.json` says of them; None where training was asked nothing."""
    if decisions is None:
        return None
    made = [
        {**asdict(each), "reason": plain(each.reason, 1000), "said": _said(each, language)}
        for each in decisions.made
    ]
    counts = {"asked": decisions.asked, "damaged_lines": decisions.damaged}
    return {"source": plain(decisions.source), **counts, "decisions": made}


def decisions_view(document: JsonObject | None, language: Language) -> DecisionsView | None:
    """Put them into words; None where training always went on, or was asked nothing."""
    if document is None or not document["decisions"]:
        return None
    words = language.say("gates", "aside", asked=document["asked"], file=document["source"])
    return DecisionsView(words, tuple(_row(each, language) for each in document["decisions"]))


def _said(decided: Decided, language: Language) -> str:
    values = {
        "onset": decided.onset,
        "to": decided.resumed_from,
        "trouble": _title(decided.code, language),
        "cause": _title(decided.cause, language),
        "share": None if decided.rate_factor is None else language.share(decided.rate_factor),
        "batches": decided.skip_batches or None,
        "parts": decided.accumulation_factor,
    }
    return language.say("gates", _key(decided), **values)


def _key(decided: Decided) -> str:
    """Which sentence it is."""
    if decided.what == "retune":
        return "cut" if (decided.accumulation_factor or 1) > 1 else "retune"
    known = {"roll back": "roll_back", "restart stage": "restart", "stop": "stop", "continue": "falls_short"}
    return known.get(decided.what, "unknown")


def _title(code: str, language: Language) -> str:
    if code and language.knows("findings", code, "title"):
        return language.say("findings", code, "title")
    return language.say("gates", code) if language.knows("gates", code) else plain(code, 60)


def _row(entry: JsonObject, language: Language) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    numbers = tuple((language.named(name), figure(value)) for name, value in entry["numbers"].items())
    step = NOTHING if entry["step"] is None else figure(entry["step"])
    return step, entry["said"], entry["reason"], numbers
