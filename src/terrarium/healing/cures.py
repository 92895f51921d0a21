"""What is tried against what the doctor finds. A table: a code that is not in it moves no gate."""

from __future__ import annotations

from enum import Enum

from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.finding import Finding, Severity


class Cure(Enum):
    """Ways to treat a stage."""

    RATE = "a lower rate, if a trial speaks for it, else other batches"
    BATCHES = "other batches, if a lower rate is no better"
    AFRESH = "the stage from its beginning, at a lower rate and on other batches"
    NONE = "nothing that training could do by itself"


CURES: dict[str, Cure] = {
    "learning-rate-too-high": Cure.RATE,
    "learning-rate-no-warmup": Cure.RATE,
    "loss-diverging": Cure.RATE,
    "loss-drifting-up": Cure.RATE,
    "loss-worse-than-chance": Cure.RATE,
    "loss-not-learning": Cure.RATE,
    "gradient-exploding": Cure.RATE,
    "loss-not-finite": Cure.RATE,
    "loss-spike": Cure.BATCHES,
    "loss-jump": Cure.BATCHES,
    "codebook-collapsed": Cure.AFRESH,
    "actions-collapsed": Cure.AFRESH,
    "loss-constant": Cure.NONE,
    "learning-rate-zero": Cure.NONE,
    "learning-rate-not-applied": Cure.NONE,
    "gradient-vanishing": Cure.NONE,
}


def illness(diagnosis: Diagnosis) -> Finding | None:
    """The first critical lead that a gate can do something about, or None."""
    leads = (finding for finding in diagnosis.findings if finding.caused_by is None)
    return next((each for each in leads if each.severity is Severity.CRITICAL and each.code in CURES), None)


def onset(diagnosis: Diagnosis, lead: Finding) -> int:
    """The first step of an illness: of its lead, or of what follows from it where that shows earlier."""
    place = diagnosis.findings.index(lead)
    steps = [lead.first_step, *(each.first_step for each in diagnosis.findings if each.caused_by == place)]
    return min((step for step in steps if step is not None), default=0)


def first_signs(diagnosis: Diagnosis) -> int | None:
    """Where what must be watched began, None where nothing must: what was saved before is worth keeping."""
    steps = [
        each.first_step
        for each in diagnosis.findings
        if each.severity is not Severity.INFO and each.code in CURES and each.first_step is not None
    ]
    return min(steps, default=None)
