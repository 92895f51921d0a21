"""Which checkpoints of a stage are whole: judged by their content, newest first, within a budget."""

from __future__ import annotations

from pathlib import Path

from terrarium.doctor.evidence import Checkpoint
from terrarium.run import disk
from terrarium.run.checkpoint import judge, list_checkpoints
from terrarium.run.folder import StageFolder, parse_checkpoint_name

DEEP_LEVEL, QUICK_LEVEL = 3, 0
MOST_DEEP_BYTES = 2**30
"""Up to this sum a stage's checkpoints are read whole, in a second or two; older ones are judged by size."""

MOST_CHECKPOINTS = 10_000


def examine_checkpoints(stage_path: Path, run_id: str | None) -> tuple[tuple[Checkpoint, ...], str]:
    """Judge the checkpoints of a stage.

    Args:
        stage_path: the stage's folder.
        run_id: the run that they must belong to; any if None.

    Returns:
        The checkpoints by rising step, and what was not looked at in words, or "".
    """
    stage = StageFolder(stage_path, stage_path.name, run_id or "")
    try:
        paths = list_checkpoints(stage)[-MOST_CHECKPOINTS:]
    except OSError as error:
        return (), f"checkpoints/ can't be read ({disk.why(error)})"
    if not paths:
        return (), "there are none in checkpoints/"
    facts, left = list[Checkpoint](), MOST_DEEP_BYTES
    for path in reversed(paths):
        left -= _size(path)
        facts.append(_judged(path, DEEP_LEVEL if left >= 0 or not facts else QUICK_LEVEL, stage.name, run_id))
    quick = sum(fact.judged_to == QUICK_LEVEL for fact in facts)
    blind_spot = f"the {quick} oldest of {len(facts)} were judged by the sizes of their files only (L0)"
    return tuple(reversed(facts)), blind_spot if quick else ""


def _judged(path: Path, level: int, stage: str, run_id: str | None) -> Checkpoint:
    judgement = judge(path, level=level, run_id=run_id, kind=stage)
    named = parse_checkpoint_name(path.name)
    return Checkpoint(
        step=named[1] if named else -1,
        name=path.name,
        level=judgement.level,
        judged_to=level,
        whole=judgement.whole,
        flaw="" if judgement.whole else "foreign" if judgement.foreign else "damaged",
        detail=judgement.reason,
        bytes=_size(path),
    )


def _size(path: Path) -> int:
    """Bytes of the files in a checkpoint folder; what can't be asked counts nothing."""
    try:
        return sum(file.lstat().st_size for file in path.iterdir())
    except OSError:
        return 0
