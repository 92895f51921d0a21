"""The diagnosis in a terminal: the verdict, a line for each stage, what leads, and what to do."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from terrarium.doctor.json_files import JsonObject, mapping
from terrarium.doctor.language import Language
from terrarium.doctor.lines import in_lines
from terrarium.doctor.view_findings import FindingView, finding_views
from terrarium.doctor.view_health import has_begun
from terrarium.doctor.wording import figure, plain

COLOURS = {
    "normal": "green",
    "watch": "yellow",
    "unknown": "magenta",
    "critical": "red",
    "info": "cyan",
}
MOST_LEADS = 4
MOST_ACTIONS = 6
MOST_FOLLOWERS = 4
MOST_MISSING = 4


def print_summary(document: JsonObject, language: Language, console: Console) -> None:
    """Print what matters of a report.

    Args:
        document: what `report.json` says.
        language: in which it is said.
        console: where to. Nothing is taken for markup, and texts from files lose their control characters.
    """
    _head(document, language, console)
    leads = [finding for finding in finding_views(document, language) if finding.follows is None]
    grave = [finding for finding in leads if finding.severity != "info"]
    for finding in grave[:MOST_LEADS]:
        _lead(finding, language, console)
    notes = [finding for finding in leads if finding.severity == "info"]
    if notes:
        titles = language.listed([finding.title for finding in notes[:MOST_LEADS]])
        _labelled("notes", titles, language, console, "cyan")
    left = len(grave) - MOST_LEADS
    if left > 0:
        console.print(_text(language.say("terminal", "more_findings", count=left), "dim"))
    _actions(document["actions"], language, console)
    _missing(document["missing"], language, console)


def print_place(report: Path | None, reason: str, language: Language, console: Console) -> None:
    """Print where the report is, or why there is none ("not_written" or "read_only")."""
    console.print()
    if report is None:
        console.print(_text(language.say("terminal", reason), "dim"))
    else:
        console.print(
            _text(
                language.say("terminal", "report") + language.say("lists", "colon") + plain(report, 4000),
                "dim",
            ),
            soft_wrap=True,
        )


def print_change(document: JsonObject, language: Language, console: Console, when: str) -> None:
    """Print what a live run has come to: the time, the verdict, and the leading findings in a line each."""
    verdict = document["verdict"]
    line = Text(f"{when}  ")
    line.append(language.say("verdicts", verdict), style=f"bold {COLOURS[verdict]}")
    console.print(line)
    for finding in finding_views(document, language):
        if finding.follows is None and finding.severity != "info":
            line = Text("  ").append("● ", style=COLOURS[finding.severity])
            console.print(line.append(_where(finding, language)))


def _head(document: JsonObject, language: Language, console: Console) -> None:
    verdict = document["verdict"]
    head = Text("● ", style=COLOURS[verdict])
    head.append(language.say("verdicts", verdict), style=f"bold {COLOURS[verdict]}")
    console.print(head.append(f"  {plain(document['run']['folder'])}", style="bold"))
    titles = {name: language.capital(language.stage(name)) for name in document["stages"]}
    width = max((Text(title).cell_len for title in titles.values()), default=0)
    for name, entry in document["stages"].items():
        line = Text(f"  {titles[name]}{' ' * (width - Text(titles[name]).cell_len)}  ")
        if has_begun(document, name):
            line.append(language.say("verdicts", entry["verdict"]), style=COLOURS[entry["verdict"]])
        else:
            line.append(language.say("page", "not_begun"), style="dim")
        facts = _facts(entry["numbers"], document["checkpoints"][name], language)
        line.append(f"  {language.say('lists', 'clause').join(facts)}", style="dim")
        _indented(line, console, 0)


def _facts(numbers: JsonObject, checkpoints: JsonObject, language: Language) -> list[str]:
    loss, facts, say = mapping(numbers.get("loss")), list[str](), language.say
    if loss:
        values = {"first": figure(loss["first"]), "last": figure(loss["last"]), "rows": numbers["rows"]}
        facts.append(say("terminal", "stage_numbers", **values))
    if checkpoints["total"]:
        facts.append(say("terminal", "checkpoints", **checkpoints))
        if checkpoints["resume_from"] is not None:
            facts.append(say("terminal", "resume", step=checkpoints["resume_from"]))
    return facts


def _lead(finding: FindingView, language: Language, console: Console) -> None:
    console.print()
    line = Text(f"{finding.number} ", style=f"bold {COLOURS[finding.severity]}")
    where = _where(finding, language)
    where.stylize("bold")
    _indented(line.append_text(where), console, 0)
    _indented(_text(finding.message), console)
    for label, words in (("cause", finding.cause), ("refuted_by", finding.refuted_by)):
        if words:
            _labelled(label, words, language, console, "dim", indent=2)
    if finding.followers:
        titles = [follower.title for follower in finding.followers[:MOST_FOLLOWERS]]
        more = len(finding.followers) - len(titles)
        titles += [language.say("page", "more", count=more)] if more else []
        _labelled("follows", language.listed(titles), language, console, "dim", indent=2)


def _where(finding: FindingView, language: Language) -> Text:
    say = language.say
    place = say("lists", "clause").join(filter(None, (finding.where, finding.when)))
    return _text(f"{language.capital(finding.title)}{say('lists', 'open')}{place}{say('lists', 'close')}")


def _labelled(
    label: str, words: str, language: Language, console: Console, style: str, indent: int = 0
) -> None:
    text = Text(language.say("terminal", label) + language.say("lists", "colon"), style=style)
    text = Text().append_text(text).append_text(_text(words))
    _indented(text, console, indent)


def _actions(actions: list[str], language: Language, console: Console) -> None:
    if not actions:
        return
    console.print()
    console.print(_text(language.say("terminal", "next"), "bold"))
    for place, action in enumerate(actions[:MOST_ACTIONS], 1):
        _indented(_text(f"{place}. {action}"), console)


def _missing(missing: list[JsonObject], language: Language, console: Console) -> None:
    essential = [entry for entry in missing if entry["essential"]]
    if not essential:
        return
    console.print()
    console.print(_text(language.say("terminal", "missing"), "bold"))
    for entry in essential[:MOST_MISSING]:
        what = f"{language.capital(language.stage(entry['stage']))} · {entry['title']}"
        words = language.say("page", "missing_item", what=what, why=entry["reason"])
        _indented(_text(words), console)


def _indented(text: Text, console: Console, indent: int = 2) -> None:
    console.print(Padding(in_lines(text, console.width - indent), (0, 0, 0, indent)))


def _text(words: str, style: str = "") -> Text:
    """Words as they are: never markup, without control characters, code without its marks."""
    return Text(plain(words, 4000).replace("`", ""), style=style)
