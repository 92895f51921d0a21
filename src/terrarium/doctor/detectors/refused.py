"""States that were refused when they were to be saved: no checkpoints, but they say why there is none."""

from __future__ import annotations

from collections.abc import Iterator

from terrarium.doctor.detectors.checkpoints import several_processes
from terrarium.doctor.evidence import Refused, StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity


def checkpoint_refused(stage: StageEvidence) -> Iterator[Finding]:
    """A state was refused when it was to be saved.

    Looks for: what was put aside in `checkpoints/.refused-*`: what is wrong with it (no tensors at all,
    numbers that are not finite, another shape), which process it came from, and whether a whole checkpoint of
    a later step shows that saving works again.

    Why it matters: the checkpoints from before are untouched, but nothing was saved since. Training stops
    there, for what it would go on with can't be resumed.

    What to do: where nothing is in it, find out which process saved it. In a distributed training the full
    state is gathered by the first process alone, and is empty in all others: only the first may save. Where
    numbers are not finite, go back to the last whole checkpoint.

    Silent when: nothing was put aside. Where a later checkpoint is whole it is only told.
    """
    refused = stage.refused
    if refused is None:
        return
    whole = [one.step for one in stage.checkpoints if one.whole]
    saved_since = max(whole, default=-1) > refused.step
    processes = several_processes(stage)
    by_others = refused.keys == 0 and processes > 1
    told: dict[str, float | str] = {"step": refused.step, "usable": len(whole)}
    told |= {} if refused.process is None else {"process": str(refused.process)}
    told |= {"processes": processes} if processes > 1 else {}
    told |= {_kind(refused): refused.detail or refused.source}
    yield Finding(
        "checkpoint-refused",
        Severity.INFO if saved_since else Severity.CRITICAL,
        stage.name,
        refused.step,
        refused.step,
        (
            *_counted(refused),
            Number(f"{stage.name}/checkpoints/", "usable checkpoints", len(whole)),
            *([Number(stage.ranks.source, "processes", stage.ranks.most)] if stage.ranks else []),
        ),
        told,
        confidence=0.95 if refused.flaw else 0.8,
        cause="every-process-saves" if by_others else "",
        actions=("fix-checkpoint-writer", "restart-from-checkpoint", "smoke-test")
        if refused.flaw == "empty"
        else ("restart-from-checkpoint", "check-data"),
    )


def _kind(refused: Refused) -> str:
    """Under which name its detail goes into the sentence: that chooses the variant."""
    if refused.keys == 0:
        return "nothing"
    return {"empty": "empty", "not-finite": "not_finite"}.get(refused.flaw, "other")


def _counted(refused: Refused) -> tuple[Number, ...]:
    if refused.keys is None:
        return ()
    wanted = 1.0 if refused.keys == 0 else None
    return (Number(refused.source, "keys (tensors) in the state", refused.keys, wanted),)
