"""Checkpoints: can training go on from what it saved, and what is wrong where it can't?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.saved import Checkpoint

DAMAGED = ("damaged", "incomplete")
NOT_JUDGED = ("foreign", "unreadable", "too-large")
"""Flaws that say nothing of what training saved: of another run, or not looked into."""

FEWEST_WRITTEN_OVER = 2


def checkpoint_empty(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints hold no weights.

    Looks for: checkpoints whose model, or whose optimizer, is an empty dict. They are recognised by their
    content: an empty file of torch.save has about a kilobyte and loads without complaint.

    Why it matters: nothing can be resumed from them, and usually nobody notices before it is needed. Where
    most are empty, every hour of training is at risk.

    What to do: find out who writes the file. Usually every process of a distributed training writes to the
    same path, and the state that all but the first gather is empty: let one process write, into a new file
    that is renamed when it is complete, and refuse to save an empty state. Then train for a thousand steps,
    save, resume, and compare.

    Silent when: there is a state, however small, or the optimizer has none, as plain SGD.
    """
    empty = _flawed(stage, "empty")
    if empty:
        most = 2 * len(empty) >= len(_judged(stage))
        severity = Severity.CRITICAL if most or not stage.usable else Severity.WATCH
        cause, values = _writers(stage, empty)
        actions = ("fix-checkpoint-writer", "smoke-test")
        yield _finding(stage, "checkpoint-empty", empty, severity, actions, cause=cause, values=values)


def _writers(stage: StageEvidence, empty: Sequence[Checkpoint]) -> tuple[str, dict[str, float | str]]:
    """Several processes that write to one path: the configuration has several, or whole ones lie between."""
    processes = several_processes(stage)
    steps = [checkpoint.step for checkpoint in empty]
    between = [one for one in stage.usable if min(steps) < one.step < max(steps)]
    if len(empty) < FEWEST_WRITTEN_OVER or not (processes > 1 or between):
        return "", {}
    return "several-writers", {"processes": processes} if processes > 1 else {}


def several_processes(stage: StageEvidence) -> int:
    """How many processes trained it, by its configuration or by what they logged; 1 where neither says."""
    return max(stage.plan.several_writers or 1, stage.ranks.most if stage.ranks else 1)


def checkpoint_damaged(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints are damaged or incomplete.

    Looks for: files that end too early, whose checksums do not fit their bytes, or that are missing from a
    checkpoint. Loading notices few of these: torch.load and safetensors compare no checksums.

    Why it matters: a flipped bit in the weights loads silently and trains on. A disk, or a way of saving,
    that damaged one checkpoint will damage more.

    What to do: resume from a whole one. Write to a hidden name, flush, compare, and rename; check the
    disk's health and free space, and whatever ended the process while it was saving.

    Silent when: everything that the format lets one check is in order. Safetensors has no checksums: in it a
    flipped bit is told only where it contradicts the table or makes a number that is not finite.
    """
    damaged = _flawed(stage, *DAMAGED)
    if damaged:
        severity = Severity.WATCH if stage.usable else Severity.CRITICAL
        actions = ("check-disk", "restart-from-checkpoint")
        yield _finding(stage, "checkpoint-damaged", damaged, severity, actions)


def checkpoint_not_finite(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints hold numbers that are not finite.

    Looks for: NaN or infinity among the weights or in the optimizer's moments.

    Why it matters: one such number spreads through every layer at the first step. What is trained from
    there is lost, however the loss looks.

    What to do: go back to the last finite checkpoint, and find what made the first NaN: a learning rate that
    is too high, half precision without a scaler, a division by zero.

    Silent when: the only ones are masks for attention (zeros and minus infinity), or records such as the
    best score so far.
    """
    bad = _flawed(stage, "not-finite")
    if bad:
        newest = bad[-1].step >= max(checkpoint.step for checkpoint in _judged(stage))
        severity = Severity.CRITICAL if newest or not stage.usable else Severity.WATCH
        actions = ("restart-from-checkpoint", "check-data")
        yield _finding(stage, "checkpoint-not-finite", bad, severity, actions)


def checkpoint_zero(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints hold nothing but zeros.

    Looks for: checkpoints all of whose weights are zero.

    Why it matters: the file has its full size and loads, but what was learnt is not in it. It happens where
    weights are saved before they are gathered from other processes or from another device, and on disks
    that lost a write.

    What to do: resume from another one; check what is saved, in the process that saves it.

    Silent when: any weight is not zero: biases and last layers may well begin at zero.
    """
    zero = _flawed(stage, "all-zero")
    if zero:
        severity = Severity.WATCH if stage.usable else Severity.CRITICAL
        yield _finding(stage, "checkpoint-zero", zero, severity, ("fix-checkpoint-writer", "check-disk"))


def checkpoint_wrong_step(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints hold other steps than their names say.

    Looks for: a step in the content that differs by more than one from the step in the name.

    Why it matters: somebody copied or renamed it, or an older state was saved again. Resuming from it
    repeats or skips steps, and a comparison of checkpoints compares the wrong ones.

    What to do: trust the step in the content; find out which process wrote the file.

    Silent when: names and contents differ in most checkpoints: then the two count different things, such as
    micro-batches and updates.
    """
    wrong = _flawed(stage, "wrong-step")
    if wrong:
        actions = ("fix-checkpoint-writer",)
        yield _finding(stage, "checkpoint-wrong-step", wrong, Severity.WATCH, actions)


def checkpoint_hostile(stage: StageEvidence) -> Iterator[Finding]:
    """Loading a checkpoint would run code.

    Looks for: pickles that name functions which start programs, open files or import code, such as
    `os.system`. Nothing is run here to find out.

    Why it matters: `torch.load` without `weights_only=True` runs it, with all your rights.

    What to do: do not load it. Find out where the file comes from, and take the weights from a source that
    you trust, preferably as safetensors.

    Silent when: a pickle only names classes, which may be anybody's; they are not run here either.
    """
    hostile = _flawed(stage, "hostile")
    if hostile:
        yield _finding(stage, "checkpoint-hostile", hostile, Severity.CRITICAL, ("distrust-checkpoint",))


def checkpoint_foreign(stage: StageEvidence) -> Iterator[Finding]:
    """Checkpoints belong to another run or stage.

    Looks for: in a run folder of Terrarium's, checkpoints whose manifest names another run or stage.

    Why it matters: a resume ignores them, even where their step is the highest. Whoever counts files sees
    more progress than there is.

    What to do: nothing, or move them away.

    Silent when: the folder is not Terrarium's: nothing says there whose a checkpoint is.
    """
    foreign = _flawed(stage, "foreign")
    if foreign:
        yield _finding(stage, "checkpoint-foreign", foreign, Severity.INFO, ())


def checkpoint_newest_unusable(stage: StageEvidence) -> Iterator[Finding]:
    """The newest checkpoint can't be used.

    Looks for: a newest checkpoint that is empty, damaged, not finite, or of another step than it says;
    whether an older one is whole, and how many steps lie between.

    Why it matters: what was trained since the last whole checkpoint is lost if the run stops now. Where
    none is whole, everything is.

    What to do: restart from the newest whole one, not from the newest file; keep it until a newer one has
    been read back. If the run still lives, have it save again before anything else.

    Silent when: the newest one is whole, or could not be looked into.
    """
    judged, usable = _judged(stage), stage.usable
    if not judged or judged[-1].whole:
        return
    newest, resume = judged[-1], usable[-1] if usable else None
    lost = newest.step - (resume.step if resume else 0)
    values: dict[str, float | str] = {"newest": newest.name, "newest_step": newest.step, "lost": lost}
    if resume:
        values |= {"resume": resume.name, "resume_step": resume.step}
    yield Finding(
        "checkpoint-newest-unusable",
        Severity.WATCH if resume else Severity.CRITICAL,
        stage.name,
        None if newest.step < 0 else newest.step,
        None if newest.step < 0 else newest.step,
        (
            Number(_place(newest), "steps since the last usable checkpoint", lost, 0.0, "steps"),
            Number("checkpoints/", "usable checkpoints", len(usable)),
        ),
        values | {"total": len(judged), "usable": len(usable)},
        confidence=0.95,
        actions=("restart-from-checkpoint",) if resume else ("fix-checkpoint-writer",),
    )


def _judged(stage: StageEvidence) -> list[Checkpoint]:
    """The checkpoints of this run that were looked into, by rising step."""
    return [checkpoint for checkpoint in stage.checkpoints if checkpoint.flaw not in NOT_JUDGED]


def _flawed(stage: StageEvidence, *flaws: str) -> list[Checkpoint]:
    return [checkpoint for checkpoint in stage.checkpoints if checkpoint.flaw in flaws]


def _place(checkpoint: Checkpoint) -> str:
    return f"checkpoints/{checkpoint.name}"


def _finding(
    stage: StageEvidence,
    code: str,
    flawed: Sequence[Checkpoint],
    severity: Severity,
    actions: tuple[str, ...],
    *,
    cause: str = "",
    values: dict[str, float | str] | None = None,
) -> Finding:
    usable, total = stage.usable, len(_judged(stage))
    steps = [checkpoint.step for checkpoint in flawed if checkpoint.step >= 0]
    told: dict[str, float | str] = {
        "count": len(flawed),
        "total": max(total, len(flawed)),
        "usable": len(usable),
        "name": flawed[-1].name,
        "detail": flawed[-1].detail or flawed[-1].name,
    }
    return Finding(
        code,
        severity,
        stage.name,
        min(steps, default=None),
        max(steps, default=None),
        (
            Number(_place(flawed[-1]), f"checkpoints that are {flawed[-1].flaw}", len(flawed), 0.0),
            Number("checkpoints/", "usable checkpoints", len(usable)),
        ),
        told | (values or {}),
        confidence=0.95,
        cause=cause,
        actions=actions,
    )
