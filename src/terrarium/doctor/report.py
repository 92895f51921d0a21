"""The run's one report page: `report.md`, `report.html` and `report.json`, health first, then scores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from terrarium.doctor.evidence import Evidence, Picture, StageEvidence
from terrarium.doctor.json_files import JsonObject, mapping, strict
from terrarium.doctor.measures import stage_numbers
from terrarium.doctor.page_html import render_html
from terrarium.doctor.page_markdown import render_markdown
from terrarium.doctor.readers.run_folder import gather
from terrarium.doctor.summary import summary
from terrarium.errors import RunError
from terrarium.run import disk

FORMAT = 1
VERDICT = "unknown"
UNEXAMINED = "No detector has examined this run yet, so its verdict is unknown."


def write_report(run_path: Path, out: Path | None = None) -> Path:
    """Write `report.json`, `report.md` and `report.html` of a run.

    Args:
        run_path: the run folder; parts of it may be missing or half written.
        out: the folder to write to, made if need be; the run folder itself if None.

    Returns:
        The path of `report.html`.

    Raises:
        RunError: there is no such run folder, or the reports can't be written.
    """
    evidence = gather(run_path)
    folder = evidence.path if out is None else out.resolve()
    document = describe(evidence)
    pages = {
        "report.json": disk.dump_json(document, indent=2),
        "report.md": render_markdown(evidence, document, folder).encode("utf-8", "replace"),
        "report.html": render_html(evidence, document).encode("utf-8", "replace"),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            disk.write_atomically(folder / name, page)
    except OSError as error:
        raise RunError(
            f"the report can't be written to {folder}: {disk.why(error)}",
            "Free some space or choose another folder",
        ) from error
    return folder / "report.html"


def describe(evidence: Evidence) -> JsonObject:
    """What `report.json` says: every figure of the report, in strict JSON.

    Returns:
        format, verdict, summary, run, stages, checkpoints, findings, scores, pictures and missing. Without
        detectors the verdicts are "unknown" and the findings empty.
    """
    asked = mapping(evidence.run.get("config"))
    stages = {
        name: {"verdict": VERDICT, "numbers": stage_numbers(stage, mapping(asked.get(name)))}
        for name, stage in evidence.stages.items()
    }
    pictures = [picture for stage in evidence.stages.values() for picture in stage.pictures]
    document = {
        "format": FORMAT,
        "verdict": VERDICT,
        "summary": summary(evidence, stages, UNEXAMINED),
        "run": {"folder": evidence.path.name} | evidence.run,
        "stages": stages,
        "checkpoints": {name: _checkpoints(stage) for name, stage in evidence.stages.items()},
        "findings": [],
        "scores": evidence.scores,
        "pictures": [_picture(picture, evidence) for picture in pictures],
        "missing": [
            {"stage": gap.stage, "what": gap.what, "reason": gap.detail or gap.why}
            for gap in evidence.missing
        ],
    }
    described: JsonObject = strict(document)
    return described


def _checkpoints(stage: StageEvidence) -> JsonObject:
    whole = [checkpoint.step for checkpoint in stage.checkpoints if checkpoint.whole]
    return {
        "total": len(stage.checkpoints),
        "usable": len(whole),
        "resume_from": max(whole, default=None),
        "items": [asdict(checkpoint) | {"reason": checkpoint.detail} for checkpoint in stage.checkpoints],
    }


def _picture(picture: Picture, evidence: Evidence) -> JsonObject:
    return {key: value for key, value in asdict(picture).items() if key != "pairs"} | {
        "path": picture.path.relative_to(evidence.path).as_posix()
    }
