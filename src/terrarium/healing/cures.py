"""Which findings a gate acts on: codes that are not in this table change nothing."""

from __future__ import annotations

from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.finding import Finding, Severity

MEASURES: dict[str, str | None] = {
    "learning-rate-too-high": "loss",
    "learning-rate-no-warmup": "loss",
    "loss-diverging": "loss",
    "loss-drifting-up": "loss",
    "loss-worse-than-chance": "loss",
    "loss-not-learning": "loss",
    "gradient-exploding": "loss",
    "loss-not-finite": "loss",
    "loss-spike": "loss",
    "loss-jump": "loss",
    "codebook-collapsed": "codebook_usage",
    "actions-collapsed": "action_entropy",
    "loss-constant": None,
    "learning-rate-zero": None,
    "learning-rate-not-applied": None,
    "gradient-vanishing": None,
    "parameters-frozen": None,
}
"""Code -> the history column that tells whether a cure works; None if training can do nothing about it."""


def illness(diagnosis: Diagnosis) -> Finding | None:
    """The first critical leading finding that a gate acts on, or None."""
    leads = (finding for finding in diagnosis.findings if finding.caused_by is None)
    return next(
        (each for each in leads if each.severity is Severity.CRITICAL and each.code in MEASURES), None
    )


def onset(diagnosis: Diagnosis, lead: Finding) -> int:
    """The step at which an illness began: that of its lead, or of an effect that shows earlier."""
    place = diagnosis.findings.index(lead)
    steps = [lead.first_step, *(each.first_step for each in diagnosis.findings if each.caused_by == place)]
    return min((step for step in steps if step is not None), default=0)


def first_signs(diagnosis: Diagnosis) -> int | None:
    """The step of the first sign of trouble, or None: checkpoints from before it are worth keeping."""
    steps = [
        each.first_step
        for each in diagnosis.findings
        if each.severity is not Severity.INFO and each.code in MEASURES and each.first_step is not None
    ]
    return min(steps, default=None)
