"""Parameters that training does not move."""

from __future__ import annotations

from collections.abc import Iterator

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity

LEAST_STEPS = 20  # what lies behind an output that begins at zero moves from the second step on
GRAVE = 0.5  # of all numbers: then it is not this model that is trained
SHOWN = 3


def parameters_frozen(stage: StageEvidence) -> Iterator[Finding]:
    """Training does not move some of the parameters.

    Looks for: parameters that are, after 20 steps or more, bit for bit what they were before the first
    one. Training notes them by name at every gate (`parameters.json`). More than half of all numbers is
    critical.

    Why it matters: the rest learns around a part that stays random. The loss falls all the same, only less
    far, which nobody can see in it.

    What to do: look at these parameters: whether `requires_grad` was switched off and not on again,
    whether the optimizer was made before they were added, whether the loss reaches them.

    Silent when: nobody noted it (other trainers' runs, training without gates), under 20 steps were
    taken, or nothing at all moved: then it is the learning rate.
    """
    unmoved = stage.unmoved
    if unmoved is None or not unmoved.names or unmoved.step < LEAST_STEPS or unmoved.share >= 1:
        return
    named = ", ".join(unmoved.names[:SHOWN])
    values: dict[str, float | str] = {
        "names": named,
        "count": len(unmoved.names),
        "percent": 100 * unmoved.share,
        "last_step": unmoved.step,
    }
    if len(unmoved.names) > SHOWN:
        values["more"] = len(unmoved.names) - SHOWN
    share = Number(unmoved.source, "share of all numbers that did not move", unmoved.share, 0.0, "ratio")
    yield Finding(
        "parameters-frozen",
        Severity.CRITICAL if unmoved.share > GRAVE else Severity.WATCH,
        stage.name,
        0,
        unmoved.step,
        (share,),
        values,
        confidence=0.95,
        actions=("thaw-parameters", "smoke-test"),
    )
