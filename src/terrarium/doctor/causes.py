"""Which finding leads and which ones follow from it, so that one illness gives one leading finding.

`EXPLAINED_BY` lists for each code the codes that explain it, the most telling first. A finding follows from
another only if the other began no later, as far as onsets can be told, and was found with some confidence.
Causes are followed to their root, which is the lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from terrarium.doctor.detectors.stages import BUILT_ON
from terrarium.doctor.evidence import Evidence
from terrarium.doctor.finding import Finding, Severity
from terrarium.doctor.history import FloatArray

SLACK = 0.06  # of a stage's length: onsets are estimates, and those found in coarse columns are late
LEAST_CONFIDENCE = 0.4
TAKEN_AS_TOGETHER = 0.02  # of a stage's length

RATES = ("learning-rate-not-applied", "learning-rate-too-high", "learning-rate-no-warmup")
COLLAPSES = ("codebook-collapsed", "actions-collapsed", "actions-unstable")
RISES = ("loss-diverging", "loss-drifting-up", "loss-jump", "loss-spike", "loss-not-finite")
STANDSTILLS = ("loss-not-learning", "loss-constant")
ILL_LOSSES = (*RISES, "loss-worse-than-chance", *STANDSTILLS)
UNUSABLE = (
    "checkpoint-empty",
    "checkpoint-not-finite",
    "checkpoint-damaged",
    "checkpoint-hostile",
    "checkpoint-zero",
    "checkpoint-wrong-step",
)

EXPLAINED_BY: dict[str, tuple[str, ...]] = {
    "loss-diverging": (*RATES, "loss-jump", "gradient-exploding", *COLLAPSES),
    "loss-drifting-up": (*RATES, "gradient-exploding", "loss-sawtooth", "overfitting", *COLLAPSES),
    "loss-worse-than-chance": (*RATES, *RISES),
    "loss-not-finite": (*RATES, "loss-diverging", "gradient-exploding", "gradient-not-finite"),
    "loss-spike": (*RATES, "loss-jump", "gradient-exploding", *COLLAPSES),
    "loss-jump": ("learning-rate-not-applied",),
    "loss-sawtooth": ("actions-unstable",),
    "loss-not-learning": (
        "learning-rate-zero",
        "parameters-frozen",
        "gradient-vanishing",
        "loss-constant",
        *RATES,
        *COLLAPSES,
    ),
    "loss-constant": ("learning-rate-zero", "parameters-frozen", "gradient-vanishing"),
    "parameters-frozen": ("learning-rate-zero",),
    "overfitting": (),
    "gradient-exploding": (*RATES, "loss-jump", "loss-diverging", "loss-drifting-up"),
    "gradient-not-finite": (*RATES, "loss-diverging", "loss-not-finite"),
    "gradient-vanishing": (*COLLAPSES,),
    "learning-rate-too-high": ("learning-rate-not-applied",),
    "codebook-collapsed": (*RATES, "loss-diverging", "loss-not-finite"),
    "actions-collapsed": (*RATES, "loss-diverging", "loss-not-finite"),
    "actions-narrow": ("actions-collapsed", "actions-unstable"),
    "actions-unstable": (*RATES, "actions-collapsed", "loss-diverging"),
    "steps-repeated": ("loss-jump",),
    "throughput-dropped": ("run-stalled", "rank-slower"),
    "device-idle": ("rank-slower",),
    "run-unfinished": ("loss-not-finite", "every-rank-saves", "checkpoint-refused", "run-stalled"),
    "checkpoint-refused": ("loss-not-finite", "gradient-not-finite"),
    "checkpoint-not-finite": ("loss-not-finite", "gradient-not-finite"),
    "checkpoint-empty": ("every-rank-saves",),
    "checkpoint-newest-unusable": UNUSABLE,
    **dict.fromkeys(
        ("picture-flat", "picture-blocks", "picture-stripes", "picture-tiles", "picture-noise"),
        (*RATES, "learning-rate-zero", *ILL_LOSSES, *COLLAPSES),
    ),
    "world-falls-short": (*RATES, *ILL_LOSSES, *COLLAPSES, "upstream-unsound", "run-unfinished"),
    "picture-blurred": (*RATES, *ILL_LOSSES, "codebook-collapsed"),
    "picture-frozen": (*RATES, *ILL_LOSSES, *COLLAPSES),
}
SHOWN_DOWNSTREAM = "picture-"  # what a later stage draws is drawn through the tokenizer
FELT_DOWNSTREAM = ("loss-not-finite", "loss-constant", "loss-not-learning", "upstream-unsound")
"""What training on the results of an ill stage can lead to; a rising loss is the later stage's own doing."""

ILL_UPSTREAM = (*ILL_LOSSES, "codebook-collapsed", "actions-collapsed")
ORDER_OF_FAMILIES = (
    "learning-rate",
    "parameters",
    "loss",
    "gradient",
    "overfitting",
    "every-rank",
    "checkpoint",
    "codebook",
    "actions",
    "picture",
    "rank",
    "run",
    "memory",
    "throughput",
    "device",
    "steps",
)
GRAVEST_FIRST = (Severity.CRITICAL, Severity.WATCH, Severity.INFO)


def link(findings: Sequence[Finding], evidence: Evidence) -> tuple[Finding, ...]:
    """Order findings by importance, and point each at the one that it follows from.

    A finding is as severe as the worst of what follows from it.

    Args:
        findings: in any order, not linked yet.
        evidence: what they were made from; onsets are compared relative to the lengths of its stages.

    Returns:
        The findings, most important first; `caused_by` is the place of the direct cause in this list.
    """
    lengths = {name: _length(stage.kept.steps) for name, stage in evidence.stages.items()}
    causes = [_cause(place, findings, lengths) for place in range(len(findings))]
    _cut_cycles(causes)
    roots = [_root(place, causes) for place in range(len(findings))]
    severities = [finding.severity for finding in findings]
    for place, finding in enumerate(findings):
        above = causes[place]
        while above is not None:
            severities[above] = min(severities[above], finding.severity, key=GRAVEST_FIRST.index)
            above = causes[above]

    def importance(place: int) -> tuple[int, int, int, int, int, float]:
        root, finding = roots[place], findings[place]
        return (
            GRAVEST_FIRST.index(severities[place]),
            GRAVEST_FIRST.index(severities[root]),
            _family(findings[root]),
            root,
            int(place != root),
            finding.first_step or 0,
        )

    order = sorted(range(len(findings)), key=importance)
    places = {old: new for new, old in enumerate(order)}
    return tuple(
        replace(
            findings[old],
            severity=severities[old],
            caused_by=None if (cause := causes[old]) is None else places[cause],
        )
        for old in order
    )


def _cause(place: int, findings: Sequence[Finding], lengths: dict[str, float]) -> int | None:
    """The finding that explains this one best: of its own stage, else of one before."""
    effect = findings[place]
    for code in EXPLAINED_BY.get(effect.code, ()):
        for other, cause in enumerate(findings):
            if cause.code == code and cause.stage == effect.stage and _may_explain(cause, effect, lengths):
                return other
    return _cause_upstream(effect, findings)


def _cause_upstream(effect: Finding, findings: Sequence[Finding]) -> int | None:
    shown = effect.code.startswith(SHOWN_DOWNSTREAM)
    if not shown and effect.code not in FELT_DOWNSTREAM:
        return None
    for stage in BUILT_ON.get(effect.stage or "", ()):
        for other, cause in enumerate(findings):
            if cause.stage == stage and _explains_downstream(cause, shown):
                return other
    return None


def _explains_downstream(cause: Finding, shown: bool) -> bool:
    told = cause.code in ILL_UPSTREAM or (shown and cause.code.startswith(SHOWN_DOWNSTREAM))
    return told and cause.severity is Severity.CRITICAL


def _may_explain(cause: Finding, effect: Finding, lengths: dict[str, float]) -> bool:
    if cause.confidence < LEAST_CONFIDENCE or cause.severity is Severity.INFO:
        return False
    if cause.first_step is None or effect.first_step is None:
        return True
    length = lengths.get(effect.stage or "", 0.0)
    if effect.code in EXPLAINED_BY.get(cause.code, ()):  # each may explain the other: what came first leads
        return cause.first_step < effect.first_step - TAKEN_AS_TOGETHER * length or (
            abs(cause.first_step - effect.first_step) <= TAKEN_AS_TOGETHER * length
            and _precedence(cause) < _precedence(effect)
        )
    return cause.first_step <= effect.first_step + SLACK * length


def _precedence(finding: Finding) -> int:
    """Order of findings that began together: exploding gradients lead, then the loss, then the rest."""
    return -1 if finding.code == "gradient-exploding" else _family(finding)


def _cut_cycles(causes: list[int | None]) -> None:
    for start in range(len(causes)):
        seen, place = {start}, start
        while (cause := causes[place]) is not None:
            if cause in seen:
                causes[place] = None
                break
            seen.add(cause)
            place = cause


def _root(place: int, causes: Sequence[int | None]) -> int:
    while (cause := causes[place]) is not None:
        place = cause
    return place


def _family(finding: Finding) -> int:
    for rank, family in enumerate(ORDER_OF_FAMILIES):
        if finding.code.startswith(family):
            return rank
    return len(ORDER_OF_FAMILIES)


def _length(steps_N: FloatArray) -> float:
    return float(np.ptp(steps_N)) if steps_N.size else 0.0
