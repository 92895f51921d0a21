"""The report of a run: `report.json`, `report.md` and `report.html`, health first, then scores."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from terrarium.doctor.evidence import Evidence, Kind, Liveness, Missing, Picture, StageEvidence
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.json_files import JsonObject, strict
from terrarium.doctor.language import Language
from terrarium.doctor.measures import stage_numbers
from terrarium.doctor.page_html import render_html
from terrarium.doctor.page_markdown import render_markdown
from terrarium.doctor.rank_figures import rank_figures
from terrarium.doctor.readers.gather import gather
from terrarium.doctor.saved import Checkpoint
from terrarium.doctor.summary import summary
from terrarium.doctor.view import view
from terrarium.doctor.view_decisions import decision_documents
from terrarium.doctor.view_findings import action_sentences, finding_documents
from terrarium.doctor.wording import plain
from terrarium.errors import RunError
from terrarium.run import disk

FORMAT = 2
REPORTS = ("report.json", "report.md", "report.html")


def diagnose(
    paths: Sequence[Path],
    *,
    stage: str | None = None,
    columns: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Diagnosis:
    """Read whatever lies at some paths, and conclude.

    Args:
        paths: a run folder, a tree of results, a stage folder, or histories.
        stage: the stage that bare histories belong to.
        columns: our name of a column -> the name that it has in the files.
        config: a training configuration, JSON or YAML.

    Raises:
        TerrariumError: there is nothing there to examine.
    """
    return examine(gather(paths, stage=stage, columns=columns or {}, config=config))


def write_report(run_path: Path, out: Path | None = None, language: str | None = None) -> Path:
    """Examine a run and write its report.

    Args:
        run_path: the run folder; parts of it may be missing or half written.
        out: the folder to write to, made if need be; the run folder itself if None.
        language: "en" or "zh"; the locale's if None.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: there is no such run folder, or the reports can't be written.
    """
    diagnosis = diagnose([run_path])
    folder = diagnosis.evidence.path if out is None else out.resolve()
    return write(diagnosis, folder, Language.choose(language))


def write(diagnosis: Diagnosis, folder: Path, language: Language, document: JsonObject | None = None) -> Path:
    """Write `report.json`, `report.md` and `report.html` into a folder, each whole or not at all.

    Args:
        diagnosis: what to report.
        folder: made if need be.
        language: in which to say it.
        document: what `describe` gave, where it was asked already.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: the folder can't be written.
    """
    document = document or describe(diagnosis, language)
    words = view(diagnosis, document, language)
    pages = {
        "report.json": disk.dump_json(document, indent=2),
        "report.md": render_markdown(words, folder, language).encode("utf-8", "replace"),
        "report.html": render_html(words, diagnosis, document, language).encode("utf-8", "replace"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            disk.write_atomically(folder / name, page)
    except OSError as error:
        raise RunError(
            f"the report can't be written to {folder}: {disk.why(error)}",
            "Free some space, or write it elsewhere: terrarium diagnose --out FOLDER",
        ) from error
    return folder / "report.html"


def home(evidence: Evidence) -> Path | None:
    """The folder that a report goes to unasked: a run of ours that may be written to, and nobody else's."""
    folder = evidence.path
    if evidence.kind is not Kind.RUN or not (folder / "run.json").is_file():
        return None
    try:
        writable = bool(folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    except OSError:
        return None
    return folder if writable and os.access(folder, os.W_OK) else None


def describe(diagnosis: Diagnosis, language: Language) -> JsonObject:
    """What `report.json` says: every figure and sentence of the report, in strict JSON.

    Returns:
        An object as `terrarium.doctor.schema.Report` and docs/report.md describe it.
    """
    evidence = diagnosis.evidence
    judged = {name: _checkpoints(stage, diagnosis, language) for name, stage in evidence.stages.items()}
    process = _process(evidence.liveness, language)
    stages = {
        name: {
            "verdict": diagnosis.stages[name].value,
            "numbers": stage_numbers(stage) | {"process": process},
            "ranks": rank_figures(stage.ranks),
            "gates": decision_documents(stage.decisions, language),
        }
        for name, stage in evidence.stages.items()
    }
    pictures = [picture for stage in evidence.stages.values() for picture in stage.pictures]
    document = {
        "format": FORMAT,
        "terrarium": version("terrarium"),
        "language": language.code,
        "verdict": diagnosis.verdict.value,
        "summary": summary(diagnosis, stages, language),
        "run": {"folder": plain(evidence.path.name), "kind": evidence.kind.value} | evidence.run,
        "process": process,
        "stages": stages,
        "checkpoints": judged,
        "findings": finding_documents(diagnosis, language),
        "actions": action_sentences(diagnosis, language),
        "scores": evidence.scores,
        "pictures": [_picture(picture, evidence) for picture in pictures],
        "missing": [_missing(gap, language) for gap in evidence.missing],
    }
    described: JsonObject = strict(document)
    return described


def _process(liveness: Liveness, language: Language) -> JsonObject:
    return {
        "alive": liveness.alive,
        "how": liveness.how,
        "idle_seconds": liveness.idle_seconds,
        "said": language.say("alive", liveness.how, idle=language.duration(liveness.idle_seconds)),
    }


def _checkpoints(stage: StageEvidence, diagnosis: Diagnosis, language: Language) -> JsonObject:
    return {
        "total": len(stage.checkpoints),
        "usable": len(stage.usable),
        "resume_from": _resume_from(stage, diagnosis),
        "items": [_checkpoint(checkpoint, language) for checkpoint in stage.checkpoints],
    }


def _resume_from(stage: StageEvidence, diagnosis: Diagnosis) -> int | None:
    """The newest usable checkpoint; of a critical stage the newest from before the trouble, if any."""
    whole = {checkpoint.name: checkpoint.step for checkpoint in stage.usable}
    before = [
        whole[str(finding.values["checkpoint_before"])]
        for finding in diagnosis.findings
        if finding.stage == stage.name and finding.values.get("checkpoint_before") in whole
    ]
    return min(before) if before else max(whole.values(), default=None)


def _checkpoint(checkpoint: Checkpoint, language: Language) -> JsonObject:
    reason = ""
    if checkpoint.flaw:
        what = language.say("flaw", checkpoint.flaw)
        detail = plain(checkpoint.detail)
        reason = language.say("page", "missing_item", what=what, why=detail) if detail else what
    return asdict(checkpoint) | {
        "name": plain(checkpoint.name),
        "detail": plain(checkpoint.detail),
        "reason": reason,
    }


def _picture(picture: Picture, evidence: Evidence) -> JsonObject:
    return {key: value for key, value in asdict(picture).items() if key != "pairs"} | {
        "what": plain(picture.what),
        "path": plain(os.path.relpath(picture.path, evidence.path)),
    }


def _missing(gap: Missing, language: Language) -> JsonObject:
    return {
        "stage": gap.stage,
        "what": plain(gap.what),
        "why": plain(gap.why),
        "title": plain(language.say("missing", gap.what, detail=gap.detail)),
        "reason": plain(language.say("why", gap.why, detail=gap.detail)).rstrip("。."),
        "essential": gap.essential,
    }
