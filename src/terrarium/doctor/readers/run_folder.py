"""A run folder of ours as evidence."""

from __future__ import annotations

from pathlib import Path

from terrarium.doctor.checkpoints import examine_checkpoints
from terrarium.doctor.evidence import Evidence, Kind, Missing, Picture, StageEvidence
from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject, read_object, why
from terrarium.doctor.pictures import find_pictures, show
from terrarium.doctor.readers.jsonl import count_reasons, read_history
from terrarium.doctor.scores import unmeasured
from terrarium.errors import RunError
from terrarium.run.folder import STAGES

MOST_OTHER_STAGES = 8
MARKS_OF_A_STAGE = ("history.jsonl", "checkpoints", "visualizations")


def gather(run_path: Path) -> Evidence:
    """Read everything a run folder holds; what is missing or damaged is noted and passed over.

    Args:
        run_path: a run folder (a link such as `results/latest` is followed).

    Returns:
        The evidence, complete with the list of what could not be examined.

    Raises:
        RunError: there is no such folder.
    """
    path = run_path.resolve()
    if not path.is_dir():
        raise RunError(f"{run_path} is not a run folder", "Give the folder that holds run.json")
    missing: list[Missing] = []
    run = _object(path / "run.json", "what was asked", missing)
    run_id = str(run["id"]) if isinstance(run.get("id"), str) else None
    stages = {name: _stage(path / name, run_id, missing) for name in _stage_names(path)}
    scores = _object(path / "scores.json", "scores", missing)
    if scores:
        missing.extend(
            Missing(group, f"score {label!r}", reason) for group, label, reason in unmeasured(scores)
        )
    return Evidence(path, Kind.RUN, run, stages, scores, missing=tuple(missing))


def _object(path: Path, what: str, missing: list[Missing], stage: str | None = None) -> JsonObject:
    value, reason = read_object(path)
    if reason:
        missing.append(Missing(stage, what, reason))
    return value


def _stage_names(path: Path) -> list[str]:
    """The three stages, and any other folder that looks like one."""
    others = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in STAGES
        and entry.is_dir()
        and not entry.is_symlink()
        and any((entry / mark).exists() for mark in MARKS_OF_A_STAGE)
    )
    return [*STAGES, *others[:MOST_OTHER_STAGES]]


def _stage(path: Path, run_id: str | None, missing: list[Missing]) -> StageEvidence:
    name = path.name
    if not path.is_dir():
        missing.append(
            Missing(name, "the whole stage", "it has no folder: it has not been trained in this run")
        )
        return StageEvidence(name, Kind.RUN)
    config = _object(path / "config.json", "configuration", missing, stage=name)
    history = _history(path / "history.jsonl", missing)
    checkpoints, blind_spot = examine_checkpoints(path, run_id)
    if blind_spot:
        missing.append(Missing(name, "checkpoints", blind_spot))
    pictures = _pictures(path, missing)
    discarded = _discarded(path / "history.discarded.jsonl", missing)
    return StageEvidence(
        name,
        Kind.RUN,
        source=f"{name}/history.jsonl",
        config=config,
        history=history,
        discarded=discarded,
        checkpoints=checkpoints,
        pictures=pictures,
    )


def _pictures(path: Path, missing: list[Missing]) -> tuple[Picture, ...]:
    pictures = find_pictures(path)
    if not pictures:
        missing.append(Missing(path.name, "pictures", "there are none in visualizations/"))
    reasons = [show(picture).reason for picture in pictures]
    missing.extend(Missing(path.name, "a picture", reason) for reason in reasons if reason)
    return pictures


def _history(path: Path, missing: list[Missing]) -> History | None:
    stage = path.parent.name
    try:
        history = read_history(path)
    except FileNotFoundError:
        missing.append(Missing(stage, "history", "there is no history.jsonl"))
        return None
    except (OSError, ValueError) as error:
        missing.append(Missing(stage, "history", f"history.jsonl can't be read ({why(error)})"))
        return None
    if not history.rows:
        missing.append(Missing(stage, "history", "history.jsonl holds no row"))
    elif history.column("loss") is None:
        missing.append(Missing(stage, "loss", "no row of history.jsonl holds a finite loss"))
    if history.damaged:
        lines = f"{history.damaged} damaged line{'s' if history.damaged > 1 else ''}"
        missing.append(Missing(stage, "part of the history", f"{lines} of history.jsonl could not be read"))
    return history


def _discarded(path: Path, missing: list[Missing]) -> dict[str, int]:
    try:
        return count_reasons(path)
    except FileNotFoundError:
        return {}  # the file exists only after a resume took rows back
    except (OSError, ValueError) as error:
        missing.append(
            Missing(path.parent.name, "discarded rows", f"{path.name} can't be read ({why(error)})")
        )
        return {}
