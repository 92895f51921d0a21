"""All checkpoints of a stage or a run: which there are, which to resume from, which are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import STAGES, RunFolder, StageFolder, parse_checkpoint_name
from terrarium.run.verify import TOP_LEVEL, Judgement, judge

LATEST = "latest"
_MAX_NAME_BYTES = 255


def list_checkpoints(stage: StageFolder) -> list[Path]:
    """The folders in `checkpoints/` that are named like this stage's checkpoints, by step. None is judged."""
    found = []
    for path in stage.checkpoints_path.iterdir() if stage.checkpoints_path.is_dir() else ():
        named = parse_checkpoint_name(path.name)
        if named and named[0] == stage.name:
            found.append((named[1], path))
    return [path for _, path in sorted(found)]


def newest_valid(stage: StageFolder) -> tuple[Path | None, list[Judgement]]:
    """The checkpoint to resume from: the newest that passes L0 to L3 and belongs to this run and stage.

    `latest` is not consulted, because after a kill it may name an older one.

    Returns:
        Its folder, or None, and the judgements of newer ones that were passed over, newest first, so that the
        user can be told which and why.
    """
    passed_over: list[Judgement] = []
    for path in reversed(list_checkpoints(stage)):
        judgement = judge(path, run_id=stage.run_id, kind=stage.name)
        if judgement.whole:
            return path, passed_over
        passed_over.append(judgement)
    return None, passed_over


def judge_path(path: Path, level: int = TOP_LEVEL) -> list[Judgement]:
    """Judge every checkpoint of a run folder or a stage folder, or a single checkpoint, up to a level.

    A run is whole if it has at least one checkpoint and all of them are whole. So a damaged old one makes the
    run not whole even if a newer one is fine; its judgement then names the stage's newest whole one as
    `fallback`.

    Returns:
        At least one judgement. Other trouble (no checkpoint at all, a damaged `run.json`, a `latest` that
        names nothing) is reported as a judgement too, with level -1 and the path in question.
    """
    path = path.absolute()
    if path.name == "checkpoints" and path.parent.name in STAGES:
        path = path.parent
    try:
        if (path / "run.json").exists():
            return _judge_run(path, level)
        if (path / "checkpoints").is_dir() or path.name in STAGES:
            return _judge_stage_alone(path, level)
        return [_judge_checkpoint(path, level)]
    except OSError as error:
        return [_wrong(path, f"can't be read: {disk.why(error)}", "unreadable")]


def _judge_checkpoint(path: Path, level: int) -> Judgement:
    """One checkpoint, wherever it was copied to; of its run only where it stands in the place of one."""
    stage, named = path.parent.parent, parse_checkpoint_name(path.name)
    at_home = path.parent.name == "checkpoints" and stage.name in STAGES
    run_id = _run_id(stage.parent) if at_home else None
    return judge(path, level=level, run_id=run_id, kind=named[0] if named else None)


def _judge_run(path: Path, level: int) -> list[Judgement]:
    try:
        run = RunFolder.open(path)
    except RunError as error:
        return [_wrong(path / "run.json", error.what)]
    judgements = [judgement for stage in run.stages() for judgement in _judge_stage(stage, level)]
    return judgements or [_wrong(path, "there is no checkpoint in this run")]


def _judge_stage_alone(path: Path, level: int) -> list[Judgement]:
    if path.name not in STAGES:
        return [_wrong(path, f"is no stage: a stage is named {', '.join(STAGES)}")]
    run_id = _run_id(path.parent)
    if run_id is None:
        return [_wrong(path, "stands in no run: there is no readable run.json beside it")]
    judgements = _judge_stage(StageFolder(path, path.name, run_id), level)
    return judgements or [_wrong(path, "there is no checkpoint in this stage")]


def _judge_stage(stage: StageFolder, level: int) -> list[Judgement]:
    judgements = [
        judge(path, level=level, run_id=stage.run_id, kind=stage.name) for path in list_checkpoints(stage)
    ]
    # Retention of a live run may have removed one meanwhile: that is not damage.
    present = [each for each in judgements if each.whole or each.path.exists()]
    fallback = next((each.path for each in reversed(present) if each.whole), None)
    told = [each if each.whole else replace(each, fallback=fallback) for each in present]
    return told + _judge_latest(stage)


def _judge_latest(stage: StageFolder) -> list[Judgement]:
    """`latest` may lag behind after a kill, but what it names existed once: if it is gone, that is damage."""
    latest = stage.checkpoints_path / LATEST
    try:
        name = disk.read_bounded(latest, _MAX_NAME_BYTES).decode().strip()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [_wrong(latest, f"can't be read: {error}")]
    if parse_checkpoint_name(name) is None or not (stage.checkpoints_path / name).is_dir():
        return [_wrong(latest, f"names {disk.shown(name)}, which is not there")]
    return []


def _run_id(path: Path) -> str | None:
    try:
        return RunFolder.open(path).id
    except RunError:
        return None


def _wrong(path: Path, reason: str, flaw: str = "") -> Judgement:
    return Judgement(path, None, -1, False, reason, flaw=flaw)
