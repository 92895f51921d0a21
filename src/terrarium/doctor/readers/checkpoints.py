"""Which checkpoints of a stage are whole: judged by their content, newest first, within a budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from terrarium.doctor.evidence import Missing
from terrarium.doctor.json_files import why
from terrarium.doctor.readers.checkpoint_content import Reading, read_unit
from terrarium.doctor.readers.checkpoint_units import Unit, expected_files, find_units, marks
from terrarium.doctor.readers.tree import SAVED
from terrarium.doctor.saved import Checkpoint
from terrarium.run.verify import judge

CHECKPOINTS = "checkpoints"
DEEP_LEVEL, QUICK_LEVEL = 3, 0
MOST_DEEP_BYTES = 2**30
"""Up to this sum a stage's checkpoints are read whole, in a second or two; older ones are judged by size."""

LARGEST_NEWEST = 2**32
"""The newest one is read whole up to this size, whatever the sum is."""

MOST_SECONDS = 20.0
"""After this time nothing is read whole any more, and after twice this nothing is read."""

MOST_CHECKPOINTS = 10_000


@dataclass(frozen=True)
class _Judged:
    """A checkpoint with the step in its name and the step in its content, where it has them.

    `is_changing` says that its files were written to while they were read.
    """

    checkpoint: Checkpoint
    named: int | None = None
    told: int | None = None
    is_changing: bool = False

    @property
    def differs(self) -> bool:
        """Whether the two steps differ by more than one (one may be saved before or after it is counted)."""
        return self.named is not None and self.told is not None and abs(self.named - self.told) > 1


def examine_checkpoints(
    stage_path: Path, run_id: str | None = None
) -> tuple[tuple[Checkpoint, ...], tuple[Missing, ...]]:
    """Judge the checkpoints of a stage.

    Args:
        stage_path: the stage's folder; they lie in `checkpoints/`, in any layout that is known, or are
            folders beside each other called `checkpoint-N`.
        run_id: of a run of ours, the run that they must belong to; any if None.

    Returns:
        The checkpoints by rising step, and what was not looked at, without its stage.
    """
    folder = stage_path / CHECKPOINTS
    beside = not folder.is_dir()
    try:
        units = find_units(stage_path if beside else folder, ours=run_id is not None)
    except OSError as error:
        return (), (Missing(None, "checkpoints", why(error), f"{CHECKPOINTS}/"),)
    if beside:
        units = [unit for unit in units if SAVED.fullmatch(unit.name)]
    found = _judge_all(units[-MOST_CHECKPOINTS:], stage_path.name, run_id)
    judged = [one for one in found if not one.is_changing]
    by_step = sorted(_with_steps(judged), key=lambda checkpoint: checkpoint.step)
    return tuple(by_step), tuple(_not_looked_at(found, len(units)))


def _judge_all(units: Sequence[Unit], stage: str, run_id: str | None) -> list[_Judged]:
    judged, left, start = list[_Judged](), MOST_DEEP_BYTES, time.monotonic()
    expected = expected_files(units)
    for unit in reversed(units):
        seconds = time.monotonic() - start
        if seconds > 2 * MOST_SECONDS:
            break
        left -= unit.bytes
        newest = not judged and unit.bytes <= LARGEST_NEWEST
        level = DEEP_LEVEL if newest or (left >= 0 and seconds < MOST_SECONDS) else QUICK_LEVEL
        before = marks(unit)
        one = _ours(unit, level, stage, run_id) if unit.ours else _foreign(unit, level, expected)
        judged.append(replace(one, is_changing=not one.checkpoint.whole and marks(unit) != before))
    return judged[::-1]


def _ours(unit: Unit, level: int, stage: str, run_id: str | None) -> _Judged:
    judgement = judge(unit.path, level=level, run_id=run_id, kind=stage if run_id else None)
    step = unit.step if unit.step >= 0 or judgement.step is None else judgement.step
    flaw = judgement.flaw or ("" if judgement.whole else "damaged")
    return _Judged(
        Checkpoint(
            step, unit.name, judgement.level, level, judgement.whole, flaw, judgement.reason, unit.bytes
        )
    )


def _foreign(unit: Unit, level: int, expected: frozenset[str]) -> _Judged:
    reading = read_unit(unit, deep=level == DEEP_LEVEL, expected=expected)
    step = unit.step if unit.step >= 0 or reading.step is None else reading.step
    return _Judged(
        _checkpoint(unit, step, level, reading), unit.step if unit.counts_steps else None, reading.step
    )


def _checkpoint(unit: Unit, step: int, level: int, reading: Reading) -> Checkpoint:
    whole = not reading.flaw
    return Checkpoint(step, unit.name, reading.level, level, whole, reading.flaw, reading.detail, unit.bytes)


def _with_steps(judged: Sequence[_Judged]) -> list[Checkpoint]:
    """Mark checkpoints whose name and content give different steps, where most others agree.

    Where they don't, names and contents count different things, such as micro-batches and updates.
    """
    told = [one for one in judged if one.named is not None and one.told is not None]
    differing = sum(one.differs for one in told)
    if 2 * differing >= len(told):
        return [one.checkpoint for one in judged]
    return [
        replace(one.checkpoint, whole=False, level=2, flaw="wrong-step", detail=f"{one.told}")
        if one.differs and one.checkpoint.whole
        else one.checkpoint
        for one in judged
    ]


def _not_looked_at(judged: Sequence[_Judged], total: int) -> list[Missing]:
    missing = []
    quick = sum(one.checkpoint.judged_to == QUICK_LEVEL for one in judged)
    if quick:
        missing.append(Missing(None, "checkpoints", "sizes-only", f"{quick} / {len(judged)}"))
    missing += [
        Missing(None, "checkpoints", "being-written", one.checkpoint.name)
        for one in judged
        if one.is_changing
    ]
    for code in ("too-large", "unreadable"):
        flawed = [one.checkpoint.name for one in judged if one.checkpoint.flaw == code]
        if flawed:
            missing.append(Missing(None, "checkpoints", code, ", ".join(flawed[-3:])))
    if len(judged) < total:
        missing.append(Missing(None, "checkpoints", "no-time", f"{total - len(judged)} / {total}"))
    return missing
