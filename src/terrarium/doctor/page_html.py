"""`report.html`: one self-contained file, light and dark, offline, without a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.language import Language
from terrarium.doctor.page_plots import score_plots, stage_plots
from terrarium.doctor.view import View
from terrarium.doctor.wording import figure, fixed

TEMPLATES = Path(__file__).parent / "page"
UNIT = re.compile(r"(?<=\d) (?=(?:%|dB|ms|s|min|h|d|nats|frames/s|steps?/s)(?![\w/]))")
NO_BREAK = "\N{NO-BREAK SPACE}"
CODE = re.compile(r"`([^`]*)`")


def render_html(words: View, diagnosis: Diagnosis, document: JsonObject, language: Language) -> str:
    """Render the report as one HTML file that needs nothing else.

    Args:
        words: what it says.
        diagnosis: what the plots are drawn from.
        document: what `report.json` says.
        language: of the page.
    """
    page = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finished,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"figure": figure, "fixed": fixed}
    return page.get_template("report.html.j2").render(
        view=words,
        say=language.say,
        language=language,
        style=Markup((TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704 - our own file
        plots=[
            stage_plots(stage, document["stages"][stage.name]["numbers"], view.findings, language)
            for stage, view in zip(diagnosis.evidence.stages.values(), words.stages, strict=True)
        ],
        score_plots=score_plots(words, language),
        svg=Markup,  # drawing.py writes no text that comes from a file
    )


def finished(value: Any) -> Any:
    """Text as HTML: a number keeps its unit on the same line, `code` is marked; all else passes, escaped."""
    if type(value) is not str:
        return value
    text = str(escape(UNIT.sub(NO_BREAK, value)))  # as Markup it would escape what the next line adds
    return Markup(CODE.sub(r"<code>\1</code>", text))  # noqa: S704 - escaped just now
