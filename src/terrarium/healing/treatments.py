"""What can be decided about a trouble: one small function per cure. Nothing is carried out here."""

from __future__ import annotations

from dataclasses import replace

from terrarium.healing.decisions import Decision, Trouble, What
from terrarium.healing.trial import Trials

LOWER = 1 / 3
PROVED_BY_TRIAL = "learning-rate-too-high"


def stop(trouble: Trouble, reason: str) -> Decision:
    """Training ends here."""
    return Decision.about(trouble, What.STOP, reason)


def go_back(trouble: Trouble, to: int, reason: str) -> Decision:
    """Go back to a step, and continue with nothing changed."""
    return replace(Decision.about(trouble, What.ROLL_BACK, reason), resumed_from=to)


def pass_over(trouble: Trouble, to: int, batches: int, reason: str) -> Decision:
    """Go back to a step, and continue without the next `batches` batches."""
    return replace(go_back(trouble, to, reason), skip_batches=batches)


def lower_rate(trouble: Trouble, to: int, factor: float, reason: str, cause: str = "") -> Decision:
    """Go back to a step, and continue at `factor` times the rate."""
    decision = Decision.about(trouble, What.RETUNE, reason)
    return replace(decision, resumed_from=to, rate_factor=factor, cause=cause)


def begin_anew(trouble: Trouble) -> Decision:
    """Restart the stage at a lower rate (a guess) and on batches that it has not seen."""
    decision = Decision.about(trouble, What.RESTART, "from its beginning")
    return replace(decision, resumed_from=0, rate_factor=LOWER, skip_batches=trouble.step)


def cut_batches(trouble: Trouble, reason: str) -> Decision:
    """Cut batches into twice as many parts: the step stays the same except for rounding."""
    decision = Decision.about(trouble, What.RETUNE, reason)
    return replace(decision, resumed_from=trouble.step, accumulation_factor=2)


def believe(trials: Trials, share: float, trouble: Trouble, to: int) -> Decision:
    """Decide by what the same steps, taken again from `to`, point at: the rate, the batches, or neither."""
    tried = replace(trouble, numbers=trouble.numbers | trials.numbers(share))
    if trials.passed(share):
        return go_back(tried, to, "the same steps, taken again as they were, do better: nothing is changed")
    if factor := trials.best(share):
        reason = f"the same steps at {factor:.3g} of the rate do better"
        return lower_rate(tried, to, factor, reason, PROVED_BY_TRIAL)
    why = "a lower rate does no better on the same batches" if trials.again else "nothing could be tried"
    return pass_over(tried, to, trouble.step - to, f"{why}: they are passed over")
