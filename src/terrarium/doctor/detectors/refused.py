"""States that saving refused: they are no checkpoints, but they say why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from terrarium.doctor.detectors.checkpoints import several_processes
from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.saved import Refused


def every_rank_saves(stage: StageEvidence) -> Iterator[Finding]:
    """Every process saves, and only the first has the state.

    Looks for: a state without a single tensor that was refused when it was to be saved, in a training of
    several processes.

    Why it matters: the full state is gathered by rank 0 alone; in all others it has 0 keys. Where every
    process saves to one path, whoever writes last wins, and what was whole is overwritten with nothing. Here
    it was refused: earlier checkpoints are untouched, but the run can't go on like this.

    What to do: let one process save, and decide in one place which one; let the others wait for it.

    Silent when: one process trained alone, each saved its own shard, or what was refused has tensors: then
    `checkpoint-refused` says what is wrong with it. Where a later checkpoint is whole it is only told.
    """
    refused, processes = stage.refused, several_processes(stage)
    if refused is not None and is_of_another_rank(refused, processes):
        actions = ("fix-checkpoint-writer", "restart-from-checkpoint", "smoke-test")
        said = (Number(stage.ranks.source, "processes", processes, 1.0),) if stage.ranks else ()
        yield _finding(stage, refused, "every-rank-saves", {"processes": processes}, said, actions)


def checkpoint_refused(stage: StageEvidence) -> Iterator[Finding]:
    """Saving refused a state.

    Looks for: what was put aside in `checkpoints/.refused-*`: what is wrong with it (no tensors at all,
    numbers that are not finite, another shape), which process it came from, and whether a whole checkpoint of
    a later step shows that saving works again.

    Why it matters: earlier checkpoints are untouched, but nothing was saved since. Training stops there,
    because the state that it would go on with can't be resumed.

    What to do: where it is empty, check which object is saved, and whether it is the model that is
    trained. Where numbers are not finite, go back to the last whole checkpoint.

    Silent when: nothing was put aside, or `every-rank-saves` says where it comes from. Where a later
    checkpoint is whole it is only told.
    """
    refused = stage.refused
    if refused is None or is_of_another_rank(refused, several_processes(stage)):
        return
    kind = {"empty": "empty", "not-finite": "not_finite"}.get(refused.flaw, "other")
    kind = "nothing" if refused.keys == 0 else kind
    actions = (
        "restart-from-checkpoint",
        "fix-checkpoint-writer" if refused.flaw == "empty" else "check-data",
    )
    values: dict[str, float | str] = {kind: refused.detail or refused.source}  # chooses the sentence
    yield _finding(stage, refused, "checkpoint-refused", values, (), actions)


def is_of_another_rank(refused: Refused, processes: int) -> bool:
    """Whether it is empty, as the full state is in every process but the first."""
    return refused.keys == 0 and processes > 1 and not refused.in_shards


def _finding(
    stage: StageEvidence,
    refused: Refused,
    code: str,
    values: Mapping[str, float | str],
    more: tuple[Number, ...],
    actions: tuple[str, ...],
) -> Finding:
    whole = [one.step for one in stage.usable]
    saved_since = max(whole, default=-1) > refused.step
    told: dict[str, float | str] = {"step": refused.step, "usable": len(whole), "detail": refused.detail}
    told |= {} if refused.process is None else {"process": str(refused.process)}
    usable = Number(f"{stage.name}/checkpoints/", "usable checkpoints", len(whole))
    return Finding(
        code,
        Severity.INFO if saved_since else Severity.CRITICAL,
        stage.name,
        refused.step,
        refused.step,
        (*_counted(refused), *more, usable),
        {**told, **values},
        confidence=0.95 if refused.flaw else 0.8,
        actions=actions,
    )


def _counted(refused: Refused) -> tuple[Number, ...]:
    if refused.keys is None:
        return ()
    wanted = 1.0 if refused.keys == 0 else None
    return (Number(refused.source, "keys (tensors) in the state", refused.keys, wanted),)
