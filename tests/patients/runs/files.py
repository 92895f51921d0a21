"""A case as files, as various trainers would have left them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patients.runs.case import Case

Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Style:
    """How a trainer writes its history.

    Attributes:
        names: what it calls the columns that it logs; others, if they are none of ours, keep their name.
        file: name of the history, with the stage in it where the style tells it.
        apart: whether validation has rows of its own.
        digits: significant digits of what is written, besides steps; None for all.
    """

    names: dict[str, str]
    file: str
    apart: bool = False
    digits: int | None = None


WANDB = {
    "step": "_step",
    "runtime": "_runtime",
    "loss": "train/loss",
    "validation_loss": "val/loss",
    "learning_rate": "learning_rate/group_0",
    "grad_norm": "train/grad_norm",
    "action_entropy": "action_entropy",
    "unique_actions": "unique_actions",
    "codebook_usage": "train/codebook_usage",
    "accuracy": "train/accuracy",
    "epoch": "epoch",
}
OURS = {name: name for name in (*WANDB, "process_memory", "memory_left")}
STYLES = {
    "wandb-csv": Style(WANDB, "{stage}_history_{id}_latest.csv"),
    "wandb-json": Style(WANDB, "{stage}_history_{id}_latest.json"),
    "ours": Style(OURS, "{stage}_history.jsonl"),
    "plain-csv": Style(
        OURS | {"runtime": "time", "validation_loss": "val_loss", "learning_rate": "lr"},
        "{stage}.csv",
        digits=6,
    ),
    "huggingface": Style(
        {
            "step": "step",
            "loss": "loss",
            "validation_loss": "eval_loss",
            "learning_rate": "learning_rate",
            "grad_norm": "grad_norm",
            "epoch": "epoch",
        },
        "log_history.json",
        apart=True,
    ),
    "lightning": Style(
        {
            "step": "step",
            "loss": "train_loss",
            "validation_loss": "val_loss",
            "learning_rate": "lr-AdamW",
            "grad_norm": "grad_norm",
            "epoch": "epoch",
        },
        "metrics.csv",
        apart=True,
    ),
}


def write(case: Case, folder: Path) -> Path:
    """Write a case's history, and its configuration as `config.json` where it has one.

    Args:
        case: what to write.
        folder: an existing folder.

    Returns:
        The history file.
    """
    style = STYLES[case.style]
    path = folder / style.file.format(stage=case.stage, id=f"{case.seed:04d}abcd")
    rows = _rows(case, style)
    if path.suffix == ".csv":
        _write_csv(path, rows, style)
    elif path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(_strict(row)) + "\n" for row in rows)
    else:
        path.write_text(json.dumps(list(rows)), "utf-8")
    if case.config:
        (folder / "config.json").write_text(json.dumps(case.config, indent=2), "utf-8")
    return path


def _rows(case: Case, style: Style) -> Iterator[Row]:
    """Rows as dictionaries; what a row does not log is not in it."""
    names = [name for name in case.columns if name in style.names]
    values = {name: _printed(case, style, name) for name in names}
    logged = {name: case.logged.get(name, np.ones(case.rows, dtype=np.bool_)).tolist() for name in names}
    for row in range(case.rows):
        there = [name for name in names if logged[name][row]]
        if style.apart and "validation_loss" in there:
            there.remove("validation_loss")
            yield {style.names[name]: values[name][row] for name in there}
            there = [name for name in ("step", "epoch", "validation_loss") if name in names]
        yield {style.names[name]: values[name][row] for name in there}


def _printed(case: Case, style: Style, name: str) -> Sequence[float | int | None]:
    values = case.columns[name]
    if name in ("step", "unique_actions"):
        return [int(value) for value in values]
    if name in ("loss", "validation_loss") and case.decimals is not None:
        values = np.round(values, case.decimals)
    if case.blank:
        return [value if math.isfinite(value) else None for value in values.tolist()]
    if style.digits is not None and name != "runtime":
        return [float(f"{value:.{style.digits}g}") for value in values.tolist()]
    return [float(value) for value in values.tolist()]


def _write_csv(path: Path, rows: Iterator[Row], style: Style) -> None:
    written = list(rows)
    columns = list(dict.fromkeys(name for row in written for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(written)


def _strict(row: Row) -> dict[str, float | int | str | None]:
    """A row of ours: what is not finite is null, beside a text."""
    strict: dict[str, float | int | str | None] = {}
    for name, value in row.items():
        finite = value is None or math.isfinite(value)
        strict[name] = value if finite else None
        if not finite:
            strict[f"{name}_text"] = str(value)
    return strict
