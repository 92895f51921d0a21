"""What the page shows, put into words once, so that Markdown and HTML can't disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from terrarium.doctor.evidence import Evidence, Picture, StageEvidence
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.pictures import Shown, show
from terrarium.doctor.scores import ActionTable, Rollout, ScoreLine, action_table, rollout, score_groups
from terrarium.doctor.wording import (
    NOTHING,
    duration,
    figure,
    plain,
    readable,
)

PURPOSES = {
    "video_tokenizer": "Turns each frame into a small grid of tokens, and back into pixels.",
    "latent_actions": "Finds, without labels, a handful of codes for what happens between two frames.",
    "dynamics": "Predicts the tokens of the next frame from the frames before and an action code.",
}
MEASURE_NAMES = {
    "codebook_usage": "Share of the codebook in use",
    "action_entropy": "Action entropy (nats)",
    "unique_actions": "Different actions in a batch",
    "accuracy": "Accuracy on masked tokens",
    "psnr": "PSNR (dB)",
}
HEALTH_ROWS = (
    "Steps taken",
    "Training time",
    "Loss, first → last",
    "Loss, lowest / median",
    "Loss by thirds (mean)",
    "Chance level",
    "Losses that are not finite",
    "Rows taken back by a resume",
    "Steps per second, overall → recently",
    "Frames per second, overall → recently",
    "Checkpoints that are whole",
    "Newest whole checkpoint",
)
MOST_SETTINGS = 400
MOST_CHECKPOINTS = 60


@dataclass(frozen=True)
class StageView:
    """One stage in words; the rows of `health` belong to `HEALTH_ROWS`."""

    name: str
    title: str
    purpose: str
    verdict: str
    trained: bool
    health: tuple[str, ...]
    windows: tuple[tuple[str, str, str, str], ...] = ()
    measures: tuple[tuple[str, ...], ...] = ()
    discarded: tuple[tuple[str, int], ...] = ()
    checkpoints: tuple[tuple[str, str, str], ...] = ()
    pictures: tuple[tuple[Picture, Shown], ...] = ()


@dataclass(frozen=True)
class View:
    """The whole page in words."""

    title: str
    summary: str
    verdict: str
    stages: tuple[StageView, ...]
    scores: tuple[tuple[str, list[ScoreLine]], ...]
    rollout: Rollout | None
    actions: ActionTable | None
    interval: tuple[float, float, float] | None
    provenance: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str, str], ...]
    health_rows: tuple[str, ...] = field(default=HEALTH_ROWS)


def view(evidence: Evidence, document: JsonObject) -> View:
    """Put a run into words.

    Args:
        evidence: what the run folder holds.
        document: what `report.json` says of it: every figure on the page is one of its figures.
    """
    stages = tuple(_stage(stage, document) for stage in evidence.stages.values())
    return View(
        title=f"Run {plain(evidence.path.name, 60)}",
        summary=str(document["summary"]),
        verdict=str(document["verdict"]),
        stages=stages,
        scores=tuple(score_groups(evidence.scores)),
        rollout=rollout(evidence.scores),
        actions=action_table(evidence.scores),
        interval=_interval(evidence.scores),
        provenance=tuple(_provenance(evidence)),
        settings=tuple(_flat(evidence.run.get("config"))),
        missing=tuple((readable(m.stage or "run"), m.what, m.detail or m.why) for m in evidence.missing),
    )


def _stage(stage: StageEvidence, document: JsonObject) -> StageView:
    entry, checkpoints = document["stages"][stage.name], document["checkpoints"][stage.name]
    numbers = entry["numbers"]
    return StageView(
        name=plain(stage.name, 60),
        title=readable(stage.name).capitalize(),
        purpose=PURPOSES.get(stage.name, ""),
        verdict=entry["verdict"],
        trained=bool(numbers["rows"] or checkpoints["total"] or stage.pictures),
        health=tuple(_health(numbers, checkpoints)),
        windows=tuple(_windows(numbers)),
        measures=tuple(_measures(numbers)),
        discarded=tuple((plain(reason), count) for reason, count in stage.discarded.items()),
        checkpoints=tuple(_checkpoints(checkpoints["items"])),
        pictures=tuple((picture, show(picture)) for picture in stage.pictures if picture.when),
    )


def _health(numbers: JsonObject, checkpoints: JsonObject) -> Iterator[str]:
    """The cells of one stage, in the order of `HEALTH_ROWS`."""
    loss = mapping(numbers.get("loss"))
    yield _steps_taken(numbers)
    yield duration(numbers.get("seconds"))
    yield f"{figure(loss['first'])} → {figure(loss['last'])}" if loss else NOTHING
    yield f"{figure(loss['min'])} / {figure(loss['median'])}" if loss else NOTHING
    yield " → ".join(figure(third) for third in numbers.get("loss_thirds", [])) or NOTHING
    yield _chance(numbers["chance_levels"])
    yield _not_finite(numbers)
    yield figure(numbers["discarded_rows"])
    for speed in ("steps_per_second", "frames_per_second"):
        overall, recent = numbers.get(speed), numbers.get(f"{speed}_recent")
        yield NOTHING if overall is None else f"{figure(overall)} → {figure(recent)}"
    yield f"{checkpoints['usable']} of {checkpoints['total']}"
    yield NOTHING if checkpoints["resume_from"] is None else f"step {checkpoints['resume_from']:,}"


def _steps_taken(numbers: JsonObject) -> str:
    taken = f"{numbers['last_step'] + 1:,}" if numbers["rows"] else "0"
    return f"{taken} of {numbers['planned_steps']:,}" if numbers["planned_steps"] else taken


def _chance(levels: dict[str, float]) -> str:
    if list(levels) == ["chance"]:
        return figure(levels["chance"])
    return ", ".join(f"{plain(name, 30)} {figure(level)}" for name, level in levels.items()) or NOTHING


def _not_finite(numbers: JsonObject) -> str:
    count = numbers.get("not_finite_rows")
    if count is None:
        return NOTHING
    return f"{count:,}, from step {numbers['first_not_finite_step']:,}" if count else "0"


def _windows(numbers: JsonObject) -> Iterator[tuple[str, str, str, str]]:
    for window in numbers.get("loss_windows", []):
        steps = f"{window['first_step']:,} – {window['last_step']:,}"
        yield steps, f"{window['rows']:,}", figure(window["mean"]), figure(window["median"])


def measure_name(name: str) -> str:
    """A column of the history in words."""
    return MEASURE_NAMES.get(name) or readable(name).capitalize()


def _measures(numbers: JsonObject) -> Iterator[tuple[str, ...]]:
    """(name, first, last, lowest, median, highest) of the own measures, learning rate and gradient."""
    common = {"Learning rate": numbers.get("learning_rate"), "Gradient norm": numbers.get("grad_norm")}
    own = {measure_name(name): spread for name, spread in numbers.get("measures", {}).items()}
    for name, spread in (own | common).items():
        if spread:
            yield name, *(figure(spread[key]) for key in ("first", "last", "min", "median", "max"))


def _checkpoints(items: list[JsonObject]) -> Iterator[tuple[str, str, str]]:
    """(step, state, judged how far), newest first."""
    for item in reversed(items[-MOST_CHECKPOINTS:]):
        state = "whole" if item["whole"] else plain(item["detail"] or "not whole")
        yield f"{item['step']:,}", state, f"L{item['judged_to']}"


def _interval(scores: JsonObject) -> tuple[float, float, float] | None:
    delta = mapping(mapping(scores.get("dynamics")).get("delta_psnr_t4"))
    low, mean, high = (number(delta.get(key)) for key in ("low", "mean", "high"))
    return None if low is None or mean is None or high is None else (low, mean, high)


def _provenance(evidence: Evidence) -> Iterator[tuple[str, str]]:
    names = {
        "id": "Run",
        "created": "Created",
        "preset": "Preset",
        "data": "Data",
        "data_fingerprint": "Data fingerprint",
        "device": "Device",
        "commit": "Commit",
    }
    for key, name in names.items():
        if evidence.run.get(key) is not None:
            yield name, plain(evidence.run[key])
    for package, version in list(mapping(evidence.run.get("versions")).items())[:40]:
        yield plain(package, 60), plain(version, 100)


def _flat(value: Any, prefix: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """A configuration tree as (dotted key, value), in the spelling of `--set`."""
    if not isinstance(value, dict) or depth > 8:
        return [(plain(prefix, 120), plain(value))] if prefix else []
    flat: list[tuple[str, str]] = []
    for key, item in value.items():
        flat += _flat(item, f"{prefix}.{key}" if prefix else str(key), depth + 1)
        if len(flat) >= MOST_SETTINGS:
            break
    return flat[:MOST_SETTINGS]
