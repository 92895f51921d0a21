"""`report.md`: the report for places that show GitHub-flavoured Markdown, with links to the pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from terrarium.doctor.evidence import Picture
from terrarium.doctor.language import Language
from terrarium.doctor.view import View
from terrarium.doctor.wording import figure, fixed, plain

TEMPLATES = Path(__file__).parent / "page"
SPECIAL = re.compile(r"([\\`*\[\]|#~!]|(?<!\w)_|_(?!\w))")
CODE = re.compile(r"(`[^`<>&|\\]+`)")


def render_markdown(words: View, folder: Path, language: Language) -> str:
    """Render the report as Markdown.

    Args:
        words: what it says.
        folder: the folder that the file goes to: pictures are linked relative to it.
        language: of the page.
    """
    # autoescape is HTML's; `finalize` escapes every value for Markdown and HTML alike, unless it is Markup
    page = Environment(  # noqa: S701 - see above
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.filters |= {
        "figure": figure,
        "fixed": fixed,
        "as_it_is": Markup,
    }  # what a macro made is escaped already
    text = page.get_template("report.md.j2").render(
        view=words, say=language.say, language=language, link=lambda picture: _link(picture, folder)
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def escape(value: Any) -> Any:
    """Text as text: no Markdown but `code`, no HTML, one line. Markup and numbers pass."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    parts = CODE.split(plain(value, 2000))
    return Markup("".join(part if CODE.fullmatch(part) else _escaped(part) for part in parts))  # noqa: S704 - escaped


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", text)


def _link(picture: Picture, folder: Path) -> Markup:
    relative = Path(os.path.relpath(picture.path, folder)).as_posix()
    return Markup(quote(os.fsencode(relative)))  # noqa: S704 - percent-encoded: nothing left that Markdown or HTML could read
