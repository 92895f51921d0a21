"""Verbs that judge: `verify` checkpoints, `diagnose` whole runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from terrarium import launched
from terrarium.cli.group import FOLDER, LONGEST_LINE, main

if TYPE_CHECKING:
    from terrarium.run.verify import Judgement


@main.command()
@click.argument("path", type=FOLDER)
@click.option(
    "--level",
    default=3,
    show_default=True,
    type=click.IntRange(0, 5),
    help="0 files, 1 sha256, 2 loads, 3 makes sense; of the newest: 4 a probe's loss, 5 a replay.",
)
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def verify(path: Path, level: int, as_json: bool) -> None:
    """Judge a checkpoint, or every one of a run. Exits 0 if whole, 11 if not, 12 if it could not be told.

    What several processes trained is replayed (level 5) by as many, started by torchrun as for `train`.
    """
    from terrarium.run.survey import judge_path

    judgements = judge_path(path, min(level, 3))
    verdicts = [_verdict(each) for each in judgements]
    if level > 3 and all(each.whole for each in judgements):
        verdicts += _proofs(path, level)
    if launched.rank() > 0:
        return  # the first process tells
    if as_json:
        click.echo(json.dumps(verdicts))
    else:
        for verdict in verdicts:
            click.echo(_verdict_line(verdict))
    states = {verdict["whole"] for verdict in verdicts}
    sys.exit(11 if False in states else 12 if None in states else 0)


def _verdict(judgement: Judgement) -> dict[str, Any]:
    """What a program is told; "whole" is null where it can't be told, for we may not read it."""
    fallback = judgement.fallback
    return {
        "path": str(judgement.path),
        "step": judgement.step,
        "whole": None if judgement.flaw == "unreadable" else judgement.whole,
        "level": judgement.level,
        "reason": judgement.reason,
        "flaw": judgement.flaw,
        "weights_whole": judgement.whole or judgement.weights_whole,
        "fallback": str(fallback) if fallback else None,
    }


def _proofs(path: Path, level: int) -> list[dict[str, Any]]:
    from terrarium.config import RanksConfig
    from terrarium.errors import TerrariumError
    from terrarium.progress import ConsoleProgress
    from terrarium.proving import prove
    from terrarium.train.distributed import joined

    why = "it stands in no run to be used in"
    try:
        with joined(RanksConfig().timeout_seconds) as ranks, ConsoleProgress() as progress:
            proofs = prove(path, level, progress, ranks)
    except TerrariumError as error:  # no footage, no memory: that says nothing of the checkpoint
        proofs, why = [], str(error)
    if not proofs:
        return [_proven(path, None, 4, why)]
    return [_proven(proof.path, proof.holds, proof.level, proof.reason) for proof in proofs]


def _proven(path: Path, holds: bool | None, level: int, reason: str) -> dict[str, Any]:
    """The same for a checkpoint that was whole up to L3, and was used."""
    from terrarium.run.folder import parse_checkpoint_name

    named = parse_checkpoint_name(path.name)
    flaw = "does-not-replay" if holds is False else ""
    known = {"path": str(path), "step": named[1] if named else None, "whole": holds, "level": level}
    return known | {"reason": reason, "flaw": flaw, "weights_whole": True, "fallback": None}


def _verdict_line(verdict: dict[str, Any]) -> str:
    from terrarium.doctor.wording import plain

    word = {True: "whole", False: "NOT whole", None: "can't tell"}[verdict["whole"]]
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    only_weights = verdict["whole"] is False and verdict["level"] < 3 and verdict["weights_whole"]
    weights = "; its weights alone are whole" if only_weights else ""
    fallback = f" (fall back on {verdict['fallback']})" if verdict.get("fallback") else ""
    level = f", level L{verdict['level']}" if verdict["level"] >= 0 else ""  # below L0 nothing is passed
    return plain(f"{verdict['path']}: {word}{level}{reason}{weights}{fallback}", LONGEST_LINE)


@main.command()
@click.argument("paths", nargs=-1, type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder for the report; the run itself by default, if it is ours.")
@click.option("--language", type=click.Choice(["en", "zh"]), help="Of the report; the locale's by default.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json to stdout and nothing else.")
@click.option("--stage", help="Stage that bare histories belong to.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="Name of a column.")
@click.option("--config", type=FOLDER, help="Training configuration, JSON or YAML.")
@click.option("--follow", is_flag=True, help="Keep watching; speak when something changes.")
@click.option(
    "--interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 86400),
    help="Seconds between looks.",
)
@click.option("--explain", metavar="CODE", help="Print the page of a detector.")
@click.option("--list", "list_all", is_flag=True, help="Print the codes of all detectors.")
def diagnose(
    paths: tuple[Path, ...],
    out: Path | None,
    language: str | None,
    as_json: bool,
    stage: str | None,
    columns: tuple[str, ...],
    config: Path | None,
    follow: bool,
    interval: float,
    explain: str | None,
    list_all: bool,
) -> None:
    """Tell the truth about a training run, ours or anybody's, finished or alive.

    PATHS are a run folder, a tree of results, a stage folder, or histories (CSV, JSON, JSONL, .wandb,
    TensorBoard events, trackio). Exits 0 if all is normal, 10 to watch, 11 if critical, 12 if unknown.
    """
    from terrarium.doctor import consult

    if list_all or explain is not None:
        click.echo(
            consult.page_of(explain, language) if explain is not None else consult.list_pages(language)
        )
        return
    consultation = consult.Consultation(
        paths, out, language, as_json, stage, consult.parse_columns(columns), config
    )
    sys.exit(consultation.follow(interval) if follow else consultation.once())
