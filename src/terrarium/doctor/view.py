"""What the page shows, put into words once, so that Markdown, HTML and terminal can't disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from terrarium.doctor.evidence import Evidence, Picture, StageEvidence
from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.language import Language
from terrarium.doctor.pictures import Shown, show
from terrarium.doctor.scores import ActionTable, Rollout, ScoreLine, action_table, rollout, score_groups
from terrarium.doctor.view_decisions import DecisionsView, decisions_view
from terrarium.doctor.view_findings import ActionView, FindingView, action_views, finding_views
from terrarium.doctor.view_health import has_begun, health_rows, measure_rows, source_row, window_rows
from terrarium.doctor.view_ranks import RanksView, ranks_view
from terrarium.doctor.wording import NOTHING, plain

PURPOSEFUL = ("video_tokenizer", "latent_actions", "dynamics")
MOST_SETTINGS = 400
MOST_CHECKPOINTS = 60
MOST_CELLS = 240


@dataclass(frozen=True)
class Cell:
    """One checkpoint in the strip: "whole", "resume" (the one to go on from) or "bad"; and its words."""

    kind: str
    words: str


@dataclass(frozen=True)
class CheckpointsView:
    """The checkpoints of a stage.

    Attributes:
        words: how many there are, how many are usable, and where to go on from.
        cells: the strip, by rising step.
        ends: the first and the last step in it, as text.
        items: (step, state, judged how far), newest first.
    """

    words: str
    cells: tuple[Cell, ...]
    ends: tuple[str, str]
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class PictureView:
    """One picture: where it is, how it is shown, and what it shows."""

    picture: Picture
    shown: Shown
    caption: str
    alt: str


@dataclass(frozen=True)
class StageView:
    """One stage in words: its verdict, as a key and as it is said, and what that comes from.

    A stage that has left nothing yet is not said to be normal. `health` belongs to the rows of `View.health`,
    in the order of the stages.
    """

    name: str
    title: str
    purpose: str
    verdict: str
    judged: str
    trained: bool
    said: str
    source: tuple[str, ...]
    windows: tuple[tuple[str, ...], ...]
    measures: tuple[tuple[str, ...], ...]
    discarded: tuple[tuple[str, int], ...]
    checkpoints: CheckpointsView | None
    pictures: tuple[PictureView, ...]
    decisions: DecisionsView | None
    ranks: RanksView | None
    findings: tuple[FindingView, ...]


@dataclass(frozen=True)
class View:
    """The whole page in words."""

    title: str
    verdict: str
    summary: str
    process: str
    leads: tuple[FindingView, ...]
    findings: tuple[FindingView, ...]
    actions: tuple[ActionView, ...]
    stages: tuple[StageView, ...]
    health: tuple[tuple[str, tuple[str, ...]], ...]
    scores: tuple[tuple[str, list[ScoreLine]], ...]
    rollout: Rollout | None
    action_table: ActionTable | None
    interval: tuple[float, float, float] | None
    provenance: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str, str], ...]


def view(diagnosis: Diagnosis, document: JsonObject, language: Language) -> View:
    """Put a diagnosis into words.

    Args:
        diagnosis: what was concluded, and from what.
        document: what `report.json` says of it: every figure on the page is one of its figures.
        language: in which to say it.
    """
    evidence = diagnosis.evidence
    findings = finding_views(document, language)
    stages = tuple(_stage(stage, document, findings, language) for stage in evidence.stages.values())
    return View(
        title=language.say("page", "title", name=evidence.path.name),
        verdict=str(document["verdict"]),
        summary=str(document["summary"]),
        process=str(document["process"]["said"]),
        leads=tuple(finding for finding in findings if finding.follows is None),
        findings=findings,
        actions=action_views(diagnosis, document, findings),
        stages=stages,
        health=tuple(health_rows(document, language)),
        scores=tuple(score_groups(evidence.scores, language)),
        rollout=rollout(evidence.scores),
        action_table=action_table(evidence.scores),
        interval=_interval(evidence.scores),
        provenance=tuple(_provenance(evidence, language)),
        settings=tuple(_flat(evidence.run.get("config"))),
        missing=tuple(
            (language.stage(entry["stage"]), entry["title"], entry["reason"]) for entry in document["missing"]
        ),
    )


def _stage(
    stage: StageEvidence, document: JsonObject, findings: tuple[FindingView, ...], language: Language
) -> StageView:
    entry, checkpoints = document["stages"][stage.name], document["checkpoints"][stage.name]
    numbers, say = entry["numbers"], language.say
    own = tuple(finding for finding in findings if finding.stage == stage.name)
    grave = [finding.title for finding in own if finding.severity != "info"]
    begun = has_begun(document, stage.name)
    return StageView(
        name=plain(stage.name, 60),
        title=language.capital(language.stage(stage.name)),
        purpose=say("stages", stage.name, "purpose") if stage.name in PURPOSEFUL else "",
        verdict=entry["verdict"] if begun else "unbegun",
        judged=say("verdicts", entry["verdict"]) if begun else say("page", "not_begun"),
        trained=bool(numbers.get("rows") or checkpoints["total"] or stage.pictures),
        said=language.listed(grave[:3]) or (say("page", f"stage_{entry['verdict']}") if begun else ""),
        source=source_row(stage, numbers, checkpoints),
        windows=tuple(window_rows(numbers)),
        measures=tuple(measure_rows(numbers, language)),
        discarded=tuple((language.named(reason), count) for reason, count in stage.discarded.items()),
        checkpoints=_checkpoints(checkpoints, language) if checkpoints["total"] else None,
        pictures=tuple(_picture(picture, language) for picture in stage.pictures if picture.when),
        decisions=decisions_view(entry["gates"], language),
        ranks=ranks_view(entry["ranks"], language),
        findings=own,
    )


def _checkpoints(checkpoints: JsonObject, language: Language) -> CheckpointsView:
    items, resume = checkpoints["items"], checkpoints["resume_from"]
    say, cells = language.say, []
    for item in items[-MOST_CELLS:]:
        kind = "bad" if not item["whole"] else "resume" if item["step"] == resume else "whole"
        state = item["reason"] or say("page", "whole")
        cells.append(Cell(kind, say("page", "checkpoint_at", step=item["step"], state=state)))
    rows = (
        (_step(item["step"], item["name"]), item["reason"] or say("page", "whole"), _level(item["level"]))
        for item in reversed(items[-MOST_CHECKPOINTS:])
    )
    shown = items[-MOST_CELLS:]
    return CheckpointsView(
        words=say(
            "page", "checkpoints_said" if resume is not None else "checkpoints_unusable", **checkpoints
        ),
        cells=tuple(cells),
        ends=(_step(shown[0]["step"], ""), _step(shown[-1]["step"], "")),
        items=tuple(rows),
    )


def _level(level: int) -> str:
    return f"L{level}" if level >= 0 else NOTHING


def _step(step: int, name: str) -> str:
    return f"{step:,}" if step >= 0 else plain(name, 60)


def _picture(picture: Picture, language: Language) -> PictureView:
    shown = show(picture)
    labels = [
        language.say("rows", label) if language.knows("rows", label) else plain(label, 40)
        for label in shown.row_labels
    ]
    return PictureView(
        picture,
        Shown(shown.uri, shown.width, shown.height, tuple(labels), shown.reason),
        caption(picture, labels, language),
        caption(picture, [], language),
    )


def caption(picture: Picture, labels: list[str], language: Language) -> str:
    """What a picture shows, in words: its subject, its step, its rows and the direction of time."""
    say = language.say
    subject = language.measure(picture.what)
    words = [say("captions", picture.when or "only", subject=subject, step=picture.step)]
    kinds = list(dict.fromkeys(labels))
    if len(kinds) > 1:
        rows = say("lists", "comma").join(kinds)
        words.append(say("captions", "rows" if len(labels) == len(kinds) else "rows_and_so_on", rows=rows))
    elif kinds:
        words.append(say("captions", "every_row", row=kinds[0]))
    if labels and len(labels) < picture.rows:
        words.append(say("captions", "first_rows", shown=len(labels), rows=picture.rows))
    if labels and picture.columns > 1:
        words.append(say("captions", "time", columns=picture.columns))
    return language.joined(words)


def _interval(scores: JsonObject) -> tuple[float, float, float] | None:
    delta = mapping(mapping(scores.get("dynamics")).get("delta_psnr_t4"))
    low, mean, high = (number(delta.get(key)) for key in ("low", "mean", "high"))
    return None if low is None or mean is None or high is None else (low, mean, high)


def _provenance(evidence: Evidence, language: Language) -> Iterator[tuple[str, str]]:
    for key in ("id", "created", "preset", "data", "data_fingerprint", "device", "commit"):
        if evidence.run.get(key) is not None:
            yield language.say("provenance", key), plain(evidence.run[key])
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
