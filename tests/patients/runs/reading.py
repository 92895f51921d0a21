"""A case as evidence, before there is anything to read its files with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patients.runs.case import Case
from terrarium.doctor.evidence import Evidence, Kind, Plan, StageEvidence
from terrarium.doctor.history import History


def as_evidence(case: Case, path: Path) -> Evidence:
    """What reading the case's files has to come to."""
    columns, bad = {}, {}
    for name, values in case.columns.items():
        there = case.logged.get(name, np.ones(case.rows, dtype=np.bool_))
        finite = np.isfinite(values)
        columns[name] = np.where(there & finite, values, np.nan)
        if (there & ~finite).any() and not case.blank:
            bad[name] = there & ~finite
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    stage = StageEvidence(
        case.stage, Kind.HISTORY, path.name, dict(case.config), _plan(case), History(columns, bad)
    )
    return Evidence(path, Kind.HISTORY, stages={case.stage: stage})


def _plan(case: Case) -> Plan:
    config = case.config

    def whole(name: str) -> int | None:
        return int(config[name]) if name in config else None

    return Plan(
        source="config.json" if config else "",
        steps=whole("n_updates"),
        learning_rate=float(config["learning_rate"]) if config else None,
        schedule=str(config["schedule"]) if config else None,
        schedule_steps=whole("n_updates"),
        warmup_steps=whole("warmup_steps"),
        gradient_accumulation_steps=whole("gradient_accumulation_steps"),
        codes=whole("codebook_size"),
        actions=whole("n_actions"),
    )
