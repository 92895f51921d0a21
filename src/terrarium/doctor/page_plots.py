"""Which plots the page shows of a stage and of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject, mapping
from terrarium.doctor.language import Language
from terrarium.doctor.measures import own_measures
from terrarium.doctor.plots import (
    Mark,
    Plot,
    curve_plot,
    interval_plot,
    loss_plot,
    ready_plot,
    rollout_plot,
    speed_plot,
)
from terrarium.doctor.rank_figures import ready_curves
from terrarium.doctor.view import View
from terrarium.doctor.view_findings import FindingView

FIRST_MEASURES = ("action_entropy", "unique_actions", "codebook_usage", "accuracy", "psnr", "device_use")
MOST_MEASURES = 4
FAMILIES = {
    "learning_rate": ("learning-rate-",),
    "action_entropy": ("actions-",),
    "unique_actions": ("actions-",),
    "codebook_usage": ("codebook-",),
    "grad_norm": ("gradient-",),
    "speed": ("throughput-", "run-"),
    "ranks": ("rank-", "ranks-"),
}
ELSEWHERE = (
    "actions-",
    "codebook-",
    "throughput-",
    "run-",
    "memory-",
    "picture-",
    "checkpoint-",
    "rank-",
    "ranks-",
)


def stage_plots(
    stage: StageEvidence, numbers: JsonObject, findings: Iterable[FindingView], language: Language
) -> list[Plot]:
    """The plots of one stage: loss, its own measures, learning rate, speed; none without two rows.

    Args:
        stage: what is drawn.
        numbers: its figures in `report.json`: windows and chance levels.
        findings: what is marked by number, where it has steps.
        language: of titles and legends.
    """
    history = stage.history
    if history is None or history.rows < 2:
        return []
    marks = _Marks(tuple(findings))
    plots = [*_loss(history, numbers, marks, language)]
    for name in _measures(history):
        values = history.columns[name]
        plots.append(
            curve_plot(
                language.measure(name),
                history.steps,
                values,
                "b",
                language.say,
                marks.of(FAMILIES.get(name, ())),
            )
        )
    rate = history.column("learning_rate")
    if rate is not None:
        title = language.measure("learning_rate")
        shown = marks.of(FAMILIES["learning_rate"])
        plots.append(curve_plot(title, history.steps, rate, "c", language.say, shown))
    return [*plots, *_speed(stage, history, marks, language), *_ranks(stage, marks, language)]


class _Marks:
    def __init__(self, findings: tuple[FindingView, ...]) -> None:
        self.findings = [f for f in findings if f.first_step is not None and f.severity != "info"]

    def of(self, prefixes: tuple[str, ...]) -> list[Mark]:
        return [_mark(finding) for finding in self.findings if prefixes and finding.code.startswith(prefixes)]

    def of_the_loss(self) -> list[Mark]:
        return [_mark(finding) for finding in self.findings if not finding.code.startswith(ELSEWHERE)]


def _mark(finding: FindingView) -> Mark:
    first = float(finding.first_step or 0)
    last = first if finding.last_step is None else float(finding.last_step)
    return Mark(str(finding.number), first, last, finding.severity)


def _loss(history: History, numbers: JsonObject, marks: _Marks, language: Language) -> Iterator[Plot]:
    loss, steps = history.column("loss"), history.steps
    if loss is None:
        return
    bad = steps[history.not_finite["loss"]] if "loss" in history.not_finite else np.zeros(0)
    validation = history.series("validation_loss")
    levels = {
        language.say("plots", "chance_level") if name == "chance" else language.named(name): level
        for name, level in mapping(numbers.get("chance_levels")).items()
    }
    windows = [
        (window["first_step"], window["last_step"], window["mean"])
        for window in numbers.get("loss_windows") or ()
        if isinstance(window["mean"], float)
    ]
    yield loss_plot(
        steps,
        loss,
        language.say,
        chance=levels,
        windows=windows if len(windows) > 1 else (),
        bad_steps=bad,
        validation=validation if validation[0].size else None,
        marks=marks.of_the_loss(),
    )


def _measures(history: History) -> list[str]:
    """The own measures that are drawn: the known ones first."""
    own = own_measures(history)
    names = [name for name in FIRST_MEASURES if name in own]
    return (names + [name for name in own if name not in names and name != "validation_loss"])[:MOST_MEASURES]


def _speed(stage: StageEvidence, history: History, marks: _Marks, language: Language) -> Iterator[Plot]:
    frames, shown = history.column("frames_per_second"), marks.of(FAMILIES["speed"])
    if frames is not None:
        title = language.say("plots", "throughput")
        yield curve_plot(title, history.steps, frames, "c", language.say, shown)
    elif stage.kept.column("runtime") is not None:
        yield from speed_plot(stage.kept, language.say, shown)


def _ranks(stage: StageEvidence, marks: _Marks, language: Language) -> Iterator[Plot]:
    """When the processes that train together were ready, of the steps with as many of them as in the end."""
    if stage.ranks is None:
        return
    steps, fastest, slowest = ready_curves(stage.ranks.latest)
    if steps.size > 1:
        yield ready_plot(steps, fastest, slowest, language.say, marks.of(FAMILIES["ranks"]))


def score_plots(words: View, language: Language) -> list[Plot]:
    """The plots of the scores: roll-outs beside their floors, and what control is worth."""
    plots = [] if words.rollout is None else [rollout_plot(words.rollout, language.say)]
    if words.interval is not None:
        plots.append(interval_plot(*words.interval, language.say))
    return plots
