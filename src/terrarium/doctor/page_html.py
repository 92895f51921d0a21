"""`report.html`: one self-contained file, light and dark, offline, without a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.measures import chance_levels, own_measures
from terrarium.doctor.plots import Plot, curve_plot, interval_plot, loss_plot, rollout_plot
from terrarium.doctor.view import View, measure_name, view
from terrarium.doctor.wording import caption, figure, fixed, share

TEMPLATES = Path(__file__).parent / "page"
MOST_OWN_MEASURES = 6
UNIT = re.compile(r"(?<=\d) (?=(?:%|dB|ms|s|min|h|d|nats|frames/s|steps/s)(?![\w/]))")
NO_BREAK = "\N{NO-BREAK SPACE}"


def render_html(evidence: Evidence, document: JsonObject) -> str:
    """Render the report as one HTML file that needs nothing else.

    Args:
        evidence: what the run folder holds.
        document: what `report.json` says of it.
    """
    page = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"figure": figure, "fixed": fixed, "share": share}
    words = view(evidence, document)
    return page.get_template("report.html.j2").render(
        view=words,
        style=Markup((TEMPLATES / "style.css").read_text("utf-8")),  # noqa: S704 - our own file
        plots=[_stage_plots(stage) for stage in evidence.stages.values()],
        score_plots=_score_plots(words),
        svg=Markup,  # plots.py draws no text that comes from a file
        caption=caption,
    )


def unbroken(value: Any) -> Any:
    """Text in which a number keeps its unit on the same line; everything else passes."""
    return UNIT.sub(NO_BREAK, value) if type(value) is str else value


def _stage_plots(stage: StageEvidence) -> list[Plot]:
    history = stage.history
    if history is None or history.rows < 2:
        return []
    plots, steps = [], history.steps
    loss = history.column("loss")
    if loss is not None:
        bad = steps[history.not_finite["loss"]] if "loss" in history.not_finite else np.zeros(0)
        plots.append(loss_plot(steps, loss, chance_levels(stage.config), bad))
    for name, values in list(own_measures(history).items())[:MOST_OWN_MEASURES]:
        plots.append(curve_plot(measure_name(name), steps, values, "b"))
    common = (
        ("learning_rate", "Learning rate", "c"),
        ("frames_per_second", "Throughput (frames per second)", "c"),
    )
    for name, title, colour in common:
        column = history.column(name)
        if column is not None:
            plots.append(curve_plot(title, steps, column, colour))
    return plots


def _score_plots(words: View) -> list[Plot]:
    plots = [] if words.rollout is None else [rollout_plot(words.rollout)]
    if words.interval is not None:
        low, mean, high = words.interval
        plots.append(interval_plot("ΔPSNR at t=4, inferred against random actions", low, mean, high))
    return plots
