"""Sentences in the reader's language: everything the doctor says comes from `languages/<code>/*.toml`."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce
from pathlib import Path
from typing import Any

from terrarium.doctor.finding import Finding
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.wording import HAN, NOTHING, beside, figure, fixed, plain, readable

FOLDER = Path(__file__).parent / "languages"
LANGUAGES = tuple(sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))
FALLBACK = "en"
PLACEHOLDER = re.compile(r"\{(?P<name>\w+)(?::(?P<one>[^{}|]*)\|(?P<many>[^{}|]*))?\}")


class Language:
    """One language: looks sentences up by their path and fills in their values.

    A sentence names its values in braces, `{low}`; `{rows:row|rows}` adds the noun in the number that fits.
    A list of sentences holds variants of one sentence: the first whose values are all known is used. A
    sentence missing in a language is said in English; one missing in English too becomes the last name of its
    path.

    Args:
        code: "en", "zh" or another folder of `languages/`.
        sentences: all its tables, merged.
    """

    def __init__(self, code: str, sentences: JsonObject) -> None:
        self.code = code
        self.sentences = sentences

    @staticmethod
    def choose(code: str | None = None) -> Language:
        """The language asked for, or else the one of the locale, or else English.

        Raises:
            KeyError: there is no such language.
        """
        code = of_the_locale(os.environ) if code is None else code
        if code not in LANGUAGES:
            raise KeyError(code)
        return _load(code)

    def find(self, *path: str) -> Any:
        """What stands at a path in this language's own tables, or None."""
        found: Any = self.sentences
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def say(self, /, *path: str, **values: Any) -> str:
        """The sentence at a path, with its values: numbers as figures, texts on one line, None as absent."""
        for language in (self, _load(FALLBACK)):
            said = fill(language.find(*path), values)
            if said is not None:
                return said
        return path[-1]

    def knows(self, *path: str) -> bool:
        """Whether this language has a sentence at this path."""
        return isinstance(self.find(*path), str | list)

    def stage(self, name: str | None) -> str:
        """A stage's name as words; of the whole run if None."""
        if name is None:
            return self.say("page", "whole_run")
        return self.say("stages", name, "title") if self.knows("stages", name, "title") else readable(name)

    def measure(self, name: str) -> str:
        """A column of a history, or the subject of a picture, in words."""
        if self.knows("measures", name):
            return self.say("measures", name)
        return self.capital(readable(name))

    def named(self, name: str) -> str:
        """What a number is called: by the table `numbers`, or the stage of that name, or as it came."""
        name = plain(name, 120)
        key, values = form_of(name)
        if key is not None:
            return self.say("numbers", key, **{part: self.named(text) for part, text in values.items()})
        return self.stage(name) if self.knows("stages", name, "title") else name

    def finding(self, finding: Finding, part: str, context: Mapping[str, Any]) -> str:
        """One part of what is said of a finding: "title", "message", "cause" or "refuted_by".

        Args:
            finding: what was found.
            part: which part; a cause that the finding names has the word before its code's own.
            context: further values that its sentences may mention.
        """
        values = {**context, **finding.values}
        if finding.cause and part in ("cause", "refuted_by"):
            path = ("causes", finding.cause, "text" if part == "cause" else part)
            if self.knows(*path) or _load(FALLBACK).knows(*path):
                return self.say(*path, **values)
        return self.say("findings", finding.code, part, **values)

    def page(self, detector: Callable[..., Any], code: str) -> str:
        """The page of a detector: in English its docstring, elsewhere `findings.<code>.page`."""
        own = self.find("findings", code, "page")
        return str(own).strip() if isinstance(own, str) else _unindented(detector.__doc__ or code)

    def duration(self, seconds: float | None) -> str:
        """A length of time in its two largest units: 7 d 19 h, 12 min 34 s."""
        if seconds is None or not math.isfinite(seconds):
            return NOTHING
        if seconds < 60:
            return self.say("units", "s", value=fixed(seconds, 1 if seconds < 10 else 0))
        left, parts = round(seconds), list[str]()
        for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
            count, left = divmod(left, size)
            if count or parts:
                parts.append(self.say("units", unit, value=str(count)))
        return " ".join(parts[:2])

    def share(self, value: float | None) -> str:
        """A fraction in percent: 0.482 -> 48.2 %."""
        return NOTHING if value is None else self.say("units", "share", value=fixed(100 * value, 1))

    def amount(self, value: float | None, unit: str) -> str:
        """A figure in its unit, where the unit is one that is shown: 0.26 step/s, 6.93 nats."""
        text = figure(value)
        if not unit or value is None or unit == "ratio":
            return text
        return (
            self.say("units", unit, value=text) if self.knows("units", unit) else f"{text} {plain(unit, 30)}"
        )

    def listed(self, words: Sequence[str]) -> str:
        """`a`, `a and b`, `a, b and c`."""
        if len(words) < 2:
            return "".join(words)
        comma, last = self.say("lists", "comma"), self.say("lists", "last")
        return reduce(beside, (comma.join(words[:-1]), last, words[-1]))

    def joined(self, sentences: Sequence[str]) -> str:
        """Sentences one after the other."""
        return self.say("lists", "sentences").join(sentences)

    def capital(self, words: str) -> str:
        """The same with a capital at its beginning; nothing changes in Chinese, even before a Latin word."""
        return words if HAN.search(words) else words[:1].upper() + words[1:]


def of_the_locale(environment: Mapping[str, str]) -> str:
    """The language that the first of LC_ALL, LC_MESSAGES and LANG names, where there are sentences in it."""
    locale = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    code = re.split(r"[_.@-]", locale.lower())[0]
    return code if code in LANGUAGES else FALLBACK


def fill(template: Any, values: Mapping[str, Any]) -> str | None:
    """A template with its values, or None where it is no template or lacks a value."""
    if isinstance(template, list):
        return next(
            (said for said in (fill(variant, values) for variant in template) if said is not None), None
        )
    if not isinstance(template, str):
        return None
    matches = list(PLACEHOLDER.finditer(template))
    if any(values.get(match["name"]) in (None, "") for match in matches):
        return None
    said, end = "", 0
    for match in matches:
        said = beside(said, template[end : match.start()])
        said, end = beside(said, _value(match, values[match["name"]])), match.end()
    return beside(said, template[end:])


def form_of(name: str) -> tuple[str | None, dict[str, str]]:
    """The key of `numbers` that a name has the form of, and what it has in the place of the key's braces."""
    forms = _load(FALLBACK).find("numbers")
    if name in forms:
        return name, {}
    found = ((key, _pattern(key).fullmatch(name)) for key in forms if "{" in key)
    return next(((key, match.groupdict()) for key, match in found if match), (None, {}))


def _value(match: re.Match[str], value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = figure(value) if number else plain(value).replace("`", "'")  # only we mark up code
    if match["one"] is None:
        return text
    return f"{text} {match['one'] if value == 1 else match['many']}"


@cache
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(key)))


@cache
def _load(code: str) -> Language:
    sentences: JsonObject = {}
    for _, tables in files(code):
        _merge(sentences, tables)
    return Language(code, sentences)


def files(code: str) -> Iterator[tuple[Path, JsonObject]]:
    """The files of one language, in the order in which they are merged."""
    for path in sorted((FOLDER / code).glob("*.toml")):
        yield path, tomllib.loads(path.read_text("utf-8"))


def _merge(into: JsonObject, tables: JsonObject) -> None:
    for name, value in tables.items():
        if isinstance(value, dict) and isinstance(into.setdefault(name, {}), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())
