"""What a run folder holds, gathered once: every output of the doctor is made from this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from terrarium.doctor.checkpoints import CheckpointFact, examine_checkpoints
from terrarium.doctor.history import History, count_reasons, read_history
from terrarium.doctor.json_files import JsonObject, read_object, why
from terrarium.doctor.pictures import Picture, Shown, find_pictures, show
from terrarium.doctor.scores import unmeasured
from terrarium.errors import RunError
from terrarium.run.folder import STAGES

MOST_OTHER_STAGES = 8
MARKS_OF_A_STAGE = ("history.jsonl", "checkpoints", "visualizations")


@dataclass(frozen=True)
class Missing:
    """Something that could not be examined, and why: absence is a result.

    Attributes:
        stage: the stage it belongs to ("play" for the finished world), or None for the whole run.
        what: what is missing, in a word or two.
        reason: why, in words.
    """

    stage: str | None
    what: str
    reason: str


@dataclass(frozen=True)
class StageEvidence:
    """What one stage left behind; parts that are missing are empty or None."""

    name: str
    config: JsonObject = field(default_factory=dict)
    history: History | None = None
    discarded: dict[str, int] = field(default_factory=dict)
    checkpoints: tuple[CheckpointFact, ...] = ()
    pictures: tuple[tuple[Picture, Shown], ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What one run folder holds.

    Attributes:
        path: the run folder, resolved.
        run: `run.json`, or empty.
        stages: stage name -> what it left behind, in training order.
        scores: `scores.json`, or empty.
        missing: what could not be examined.
    """

    path: Path
    run: JsonObject
    stages: dict[str, StageEvidence]
    scores: JsonObject
    missing: tuple[Missing, ...]


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
    return Evidence(path, run, stages, scores, tuple(missing))


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
        return StageEvidence(name)
    config = _object(path / "config.json", "configuration", missing, stage=name)
    history = _history(path / "history.jsonl", missing)
    checkpoints, blind_spot = examine_checkpoints(path, run_id)
    if blind_spot:
        missing.append(Missing(name, "checkpoints", blind_spot))
    pictures = _pictures(path, missing)
    discarded = _discarded(path / "history.discarded.jsonl", missing)
    return StageEvidence(name, config, history, discarded, checkpoints, pictures)


def _pictures(path: Path, missing: list[Missing]) -> tuple[tuple[Picture, Shown], ...]:
    pictures = tuple((picture, show(picture)) for picture in find_pictures(path))
    if not pictures:
        missing.append(Missing(path.name, "pictures", "there are none in visualizations/"))
    missing.extend(Missing(path.name, "a picture", shown.reason) for _, shown in pictures if shown.reason)
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
    if history.damaged_lines:
        lines = f"{history.damaged_lines} damaged line{'s' if history.damaged_lines > 1 else ''}"
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
