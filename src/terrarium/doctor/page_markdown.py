"""`report.md`: the report for places that show GitHub-flavoured Markdown, with links to the pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from terrarium.doctor.evidence import Evidence, Picture
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.view import view
from terrarium.doctor.wording import caption, figure, fixed, plain, share

TEMPLATES = Path(__file__).parent / "page"
SPECIAL = re.compile(r"([\\`*\[\]|#~!]|(?<!\w)_|_(?!\w))")


def render_markdown(evidence: Evidence, document: JsonObject, folder: Path) -> str:
    """Render the report as Markdown.

    Args:
        evidence: what the run folder holds.
        document: what `report.json` says of it.
        folder: the folder that the file goes to: pictures are linked relative to it.
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
    page.filters |= {"figure": figure, "fixed": fixed, "share": share}
    return page.get_template("report.md.j2").render(
        view=view(evidence, document), caption=caption, link=lambda picture: _link(picture, folder)
    )


def escape(value: Any) -> Any:
    """Text from a file as text: no Markdown, no HTML, one line. Markup and numbers pass."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = plain(value, 2000).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(SPECIAL.sub(r"\\\1", text))  # noqa: S704 - escaped just now


def _link(picture: Picture, folder: Path) -> Markup:
    relative = Path(os.path.relpath(picture.path, folder)).as_posix()
    return Markup(quote(os.fsencode(relative)))  # noqa: S704 - percent-encoded: nothing left that Markdown or HTML could read
