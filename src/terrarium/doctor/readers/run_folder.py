"""Reads a run folder of ours as evidence."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from terrarium.doctor.evidence import Evidence, Kind, Liveness, Missing, Plan, StageEvidence
from terrarium.doctor.history import History
from terrarium.doctor.json_files import JsonObject, mapping, number, read_object, why
from terrarium.doctor.ranks import Together
from terrarium.doctor.readers import absences
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.readers.decisions import GATES, read_decisions
from terrarium.doctor.readers.jsonl import count_reasons, read_history
from terrarium.doctor.readers.liveness import liveness_of_run
from terrarium.doctor.readers.pictures import examine_pictures
from terrarium.doctor.readers.plan import Source, plan_of
from terrarium.doctor.readers.ranks import RANKS, read_ranks
from terrarium.doctor.readers.refused import read_refused
from terrarium.doctor.saved import Unmoved
from terrarium.doctor.scores import unmeasured
from terrarium.run.folder import STAGES

MOST_OTHER_STAGES = 8
MARKS_OF_A_STAGE = ("history.jsonl", "checkpoints", "visualizations")
HISTORY = "history.jsonl"
ADJUSTMENTS = "adjustments.json"
PARAMETERS = "parameters.json"
MOST_NAMES = 1000


def read_run(path: Path, only: str | None = None, asked: tuple[Source, ...] = ()) -> Evidence:
    """Read everything a run folder holds; what is missing or damaged is noted and passed over.

    Args:
        path: the run folder.
        only: the one stage to read; all if None.
        asked: configurations that were given in addition, the surest first.

    Returns:
        The evidence, complete with the list of what could not be examined.
    """
    gaps: list[Missing] = []
    run = _object(path / "run.json", "run", gaps)
    scores = _object(path / "scores.json", "scores", gaps) if only is None else {}
    names = [only] if only else _stage_names(path)
    stages = [_stage(path / name, run, asked, gaps) for name in names]
    liveness = liveness_of_run(path, stages)
    gaps = absences.not_begun(gaps, stages, liveness)
    for group, label, reason in unmeasured(scores) if scores else ():
        gaps.append(Missing(group, "score", "not-measured", f"{label}: {reason}"))
    by_name = {stage.name: stage for stage in stages}
    return Evidence(path, Kind.RUN, run, by_name, scores, liveness, tuple(gaps))


def read_training(path: Path, name: str) -> Evidence:
    """Read only what training itself says of one stage, its history and its plan: a matter of milliseconds.

    Args:
        path: the run folder.
        name: the stage's name.
    """
    gaps: list[Missing] = []
    run = _object(path / "run.json", "run", gaps)
    config = _object(path / name / "config.json", "configuration", gaps, stage=name)
    history = _history(path / name / HISTORY, gaps)
    plan = _changed(plan_of(name, _sources(name, config, run)), path / name)
    unmoved = _unmoved(path / name)
    stage = StageEvidence(name, Kind.RUN, f"{name}/{HISTORY}", config, plan, history, unmoved=unmoved)
    alive = Liveness(alive=True, how="lock-held")  # whoever asks is training
    return Evidence(path, Kind.RUN, run, {name: stage}, {}, alive, tuple(gaps))


def _sources(name: str, config: JsonObject, run: JsonObject) -> tuple[Source, ...]:
    return ((f"{name}/config.json", config), ("run.json", mapping(run.get("config"))))


def _changed(plan: Plan, stage_path: Path) -> Plan:
    """The plan with the rate that a roll-back chose, so that this cure is no rate that was not applied."""
    made = read_object(stage_path / ADJUSTMENTS)[0].get("adjustments")
    factors = [
        number(each.get("rate_factor"))
        for each in (made if isinstance(made, list) else [])
        if isinstance(each, dict) and each.get("from_step") == 0
    ]
    factor = math.prod(each for each in factors if each is not None and each > 0)
    return plan if plan.learning_rate is None else replace(plan, learning_rate=plan.learning_rate * factor)


def _unmoved(stage_path: Path) -> Unmoved | None:
    """What a gate noted about parameters that do not move; None where none did."""
    noted = read_object(stage_path / PARAMETERS)[0]
    names, share, step = noted.get("unmoved"), number(noted.get("share")), number(noted.get("step"))
    if not isinstance(names, list) or share is None or step is None:
        return None
    named = tuple(str(name) for name in names[:MOST_NAMES])
    return Unmoved(f"{stage_path.name}/{PARAMETERS}", int(step), named, min(1.0, max(0.0, share)))


def _object(path: Path, what: str, gaps: list[Missing], stage: str | None = None) -> JsonObject:
    value, reason = read_object(path)
    if reason:
        gaps.append(Missing(stage, what, reason, path.name))
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


def _stage(path: Path, run: JsonObject, asked: tuple[Source, ...], gaps: list[Missing]) -> StageEvidence:
    name = path.name
    if not path.is_dir() or path.is_symlink():
        gaps.append(Missing(name, "stage", "not-trained", name))
        return StageEvidence(name, Kind.RUN)
    config = _object(path / "config.json", "configuration", gaps, stage=name)
    sources = (*asked, *_sources(name, config, run))
    run_id = str(run["id"]) if isinstance(run.get("id"), str) else None
    history = _history(path / HISTORY, gaps)
    discarded = _discarded(path / "history.discarded.jsonl", gaps)
    checkpoints, unread = examine_checkpoints(path, run_id)
    pictures, unseen = examine_pictures(path)
    stage = StageEvidence(
        name,
        Kind.RUN,
        f"{name}/{HISTORY}",
        config,
        _changed(plan_of(name, sources), path),
        history,
        discarded,
        checkpoints,
        pictures,
        _unmoved(path),
        _ranks(path / RANKS, gaps),
        read_refused(path),
        read_decisions(path / GATES),
    )
    gaps += [*absences.of_stage(stage, path), *unseen, *(replace(gap, stage=name) for gap in unread)]
    return stage


def _history(path: Path, gaps: list[Missing]) -> History | None:
    stage = path.parent.name
    try:
        history = read_history(path)
    except (OSError, ValueError) as error:
        gaps.append(Missing(stage, "history", why(error), path.name, essential=True))
        return None
    gaps += absences.of_history(stage, history, path.name)
    return history


def _ranks(path: Path, gaps: list[Missing]) -> Together | None:
    """What several processes said after each step; the file is there only where there were several."""
    stage = path.parent.name
    try:
        together = read_ranks(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        gaps.append(Missing(stage, "ranks", why(error), path.name))
        return None
    if together is None:
        gaps.append(Missing(stage, "ranks", "no-rows", path.name))
    elif together.damaged:
        gaps.append(Missing(stage, "ranks", "lost-rows", f"{together.damaged} ({path.name})"))
    if together is not None and together.cut_short:
        gaps.append(Missing(stage, "ranks", "last-part-only", path.name))
    return together


def _discarded(path: Path, gaps: list[Missing]) -> dict[str, int]:
    try:
        return count_reasons(path)
    except FileNotFoundError:
        return {}  # the file exists only after a resume took rows back
    except (OSError, ValueError) as error:
        gaps.append(Missing(path.parent.name, "discarded-rows", why(error), path.name))
        return {}
