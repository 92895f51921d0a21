"""The doctor's room: everything that is said about a run comes from its folder, without torch.

For now it holds the run's one report page: plain facts first, then scores. Nothing here is imported until it
is asked for, because drawing costs time that `import terrarium.doctor` should not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from terrarium.doctor.evidence import Evidence
    from terrarium.doctor.page_html import render_html
    from terrarium.doctor.page_markdown import render_markdown
    from terrarium.doctor.readers.gather import gather
    from terrarium.doctor.report import describe, write_report

__all__ = ["Evidence", "describe", "gather", "render_html", "render_markdown", "write_report"]

_MODULES = {
    "Evidence": "evidence",
    "gather": "readers.gather",
    "describe": "report",
    "write_report": "report",
    "render_html": "page_html",
    "render_markdown": "page_markdown",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"terrarium.doctor.{_MODULES[name]}"), name)
