"""Histories under the names that W&B exports have: a JSON list of rows and a CSV per stage."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import RunFolder
from terrarium.run.rows import Row, Scalar, read_history

COLUMNS = {
    "step": "_step",
    "runtime": "_runtime",
    "loss": "train/loss",
    "learning_rate": "learning_rate/group_0",
    "action_entropy": "action_entropy",
    "unique_actions": "unique_actions",
}
"""Our name -> the exported one. Everything else becomes `train/<name>`."""

STAGE_COLUMNS = {"latent_actions": {"codebook_usage": "latent_actions/codebook_usage"}}

_TEXT = "_text"


def export_histories(run: RunFolder, out: Path) -> list[Path]:
    """Write `<stage>_history_<run id>_latest.json` and `.csv` for every stage that has rows.

    A number that is not finite is null in the JSON, with `<column>_text` beside it; in the CSV the cell holds
    `nan` or `inf`. A value that a row lacks is absent from the JSON and an empty cell in the CSV.

    Args:
        run: the run to export.
        out: the folder for the files, usually `Logs`; made if missing.

    Returns:
        The files written.

    Raises:
        RunError: no stage has a row yet, a history can't be read, or `out` can't be written.
    """
    written = []
    for stage in run.stages():
        columns = {**COLUMNS, **STAGE_COLUMNS.get(stage.name, {})}
        rows = [_rename(row, columns) for row in read_history(stage.history_path).rows]
        stem = f"{stage.name}_history_{run.id}_latest"
        if rows:
            written.append(_write(out / f"{stem}.json", disk.dump_json(rows)))
            written.append(_write(out / f"{stem}.csv", _csv(rows)))
    if not written:
        raise RunError(f"there is nothing to export: no stage of {run.path} has a row", "Train first")
    return written


def _rename(row: Row, columns: dict[str, str]) -> Row:
    """The row under its exported names; `loss_text` follows `loss` to `train/loss_text`."""
    renamed: Row = {}
    for name, value in row.items():
        stem = name.removesuffix(_TEXT) if name.endswith(_TEXT) and name.removesuffix(_TEXT) in row else name
        renamed[columns.get(stem, f"train/{stem}") + name[len(stem) :]] = value
    return renamed


def _csv(rows: list[Row]) -> bytes:
    names = _column_order(rows)
    with io.StringIO(newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row, name) for name in names] for row in rows)
        return text.getvalue().encode()


def _column_order(rows: Iterable[Row]) -> list[str]:
    """Known columns first, then the others as they appear; `_text` columns go into the cells instead."""
    seen = dict.fromkeys(name for row in rows for name in row)
    known = [*COLUMNS.values(), "train/codebook_usage", "latent_actions/codebook_usage"]
    names = [name for name in known if name in seen] + [name for name in seen if name not in known]
    return [
        name for name in names if name.removesuffix(_TEXT) == name or name.removesuffix(_TEXT) not in seen
    ]


def _cell(row: Row, name: str) -> Scalar:
    value = row.get(name)
    return row.get(f"{name}{_TEXT}", "") if value is None else value


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(path, content)
    except OSError as error:
        raise RunError(f"{path} can't be written: {disk.why(error)}", "Choose another folder") from error
    return path
