"""A report as a reader sees it, in all three formats."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from terrarium.doctor.report import write_report


class Reading(HTMLParser):
    """The words of a page, its tags and attributes; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


class Report:
    """All three formats of one run."""

    def __init__(self, run_path: Path, out: Path | None = None) -> None:
        page = write_report(run_path, out)
        self.path = run_path
        self.html = page.read_text("utf-8")
        self.markdown = (page.parent / "report.md").read_text("utf-8")
        self.json: dict[str, Any] = json.loads(
            (page.parent / "report.json").read_text("utf-8"), parse_constant=fail
        )
        self.page = Reading(self.html)

    @property
    def markdown_text(self) -> str:
        return " ".join(html.unescape(re.sub(r"\\(?=[^\w\s])", "", self.markdown)).split())

    def both_say(self, words: str) -> bool:
        return words in self.page.text and words in self.markdown_text

    @property
    def missing(self) -> set[tuple[str | None, str]]:
        return {(entry["stage"], entry["what"]) for entry in self.json["missing"]}


def fail(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
