"""Turns a table with a stranger's column names into histories of its stages, in our names and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.readers import clock
from terrarium.doctor.readers.gaps import open_gaps
from terrarium.doctor.readers.names import SPELLINGS, normal, recognise
from terrarium.doctor.readers.same_step import join_same_steps
from terrarium.doctor.readers.stage_names import stage_named
from terrarium.doctor.readers.steps import choose_steps
from terrarium.doctor.readers.table import Table, history_of

OFTEN = 0.1  # a spelling that is logged ten times less than another one is a summary, not the series
FRACTIONS = ("accuracy", "codebook_usage", "device_use")


@dataclass(frozen=True, eq=False)
class Recognised:
    """One stage's part of a table.

    Attributes:
        history: its rows, in our names.
        names: our name -> what the file calls it.
        steps_from: "step", or "epoch" or "row" where those stand in for it.
        runtime_from: "runtime", "timestamp" where it was derived from one, "" where there is neither.
        last_time: when the last row was logged, seconds since 1970; None where unknown.
    """

    history: History
    names: dict[str, str]
    steps_from: str
    runtime_from: str
    last_time: float | None


def recognise_stages(
    table: Table, mapping: Mapping[str, str], *, nan_may_fill: bool = False
) -> dict[str, Recognised]:
    """Histories of the stages in a table; the table is empty afterwards.

    Args:
        table: as it was read.
        mapping: our name -> the file's, as a user gave it; it wins over what is recognised.
        nan_may_fill: whether the format has no gaps, so that NaN may stand for one.

    Returns:
        stage -> its history; "" for a table that names no stage, or for columns beside a stage's own.
    """
    columns = table.take_columns()
    if nan_may_fill:
        open_gaps(columns)
    stages = _by_stage(columns, mapping)
    del columns
    return {stage: _recognised(stages.pop(stage), table, mapping) for stage in list(stages)}


def _by_stage(columns: dict[str, FloatArray], mapping: Mapping[str, str]) -> dict[str, dict[str, FloatArray]]:
    """Columns such as `dynamics/loss` by stage, each with the columns that belong to no stage."""
    parts = {name: name.partition("/" if "/" in name else ".") for name in columns}
    stage_of = {name: stage_named(prefix) if rest else None for name, (prefix, _, rest) in parts.items()}
    losing = {stage for name, stage in stage_of.items() if stage and _is_loss(parts[name][2])}
    shared = [name for name, stage in stage_of.items() if stage not in losing]
    if not losing or mapping.get("loss") or (len(losing) == 1 and any(map(_is_loss, shared))):
        return {"": columns}
    stages = {}
    for stage in sorted(losing):
        own = {parts[name][2]: columns[name] for name in columns if stage_of[name] == stage}
        rows = ~np.logical_and.reduce([np.isnan(values) for values in own.values()])
        both = {name: columns[name] for name in shared if not _is_loss(name)} | own
        stages[stage] = {name: values[rows] for name, values in both.items()}
    return stages


def _is_loss(name: str) -> bool:
    found = recognise(name)
    return found is not None and found[0] == "loss"


def _recognised(columns: dict[str, FloatArray], table: Table, mapping: Mapping[str, str]) -> Recognised:
    rows = next((values.size for values in columns.values()), table.rows)
    known = _candidates(columns, mapping)
    step_name, steps, steps_from = choose_steps(columns, known.pop("step", []), known.get("epoch", []), rows)
    moments = clock.choose(columns, known.pop("runtime", []), known.pop("timestamp", []))
    names = {ours: _preferred(spellings, columns) for ours, spellings in known.items()}
    ours = {"step": steps} | ({} if moments.runtime is None else {"runtime": moments.runtime})
    for our_name, name in names.items():
        values = _in_our_unit(our_name, normal(name), columns[name])
        ours[our_name if values is not None else name] = columns[name] if values is None else values
    taken = {*names.values(), *moments.names, *_bookkeeping(columns)}
    for name, values in columns.items():
        if name not in taken:
            ours[f"{name} (as logged)" if name in SPELLINGS else name] = values
    names |= {"step": step_name} if step_name else {}
    names |= {"runtime": moments.names[0]} if moments.names else {}
    history = history_of(join_same_steps(ours), table)
    return Recognised(history, names, steps_from, moments.runtime_from, moments.last_time)


def _candidates(columns: dict[str, FloatArray], mapping: Mapping[str, str]) -> dict[str, list[str]]:
    """Our name -> the columns that may be it, the best spelling first; a mapped one alone."""
    ranked: dict[str, list[tuple[int, int, str]]] = {}
    mapped = {name: ours for ours, wanted in mapping.items() if (name := _find(wanted, columns)) is not None}
    for name, values in columns.items():
        found = (mapped[name], 0) if name in mapped else recognise(name)
        if found and (name in mapped or found[0] not in mapped.values()):
            ranked.setdefault(found[0], []).append((found[1], -int((~np.isnan(values)).sum()), name))
    return {ours: [name for _, _, name in sorted(spellings)] for ours, spellings in ranked.items()}


def _find(wanted: str, columns: Mapping[str, FloatArray]) -> str | None:
    if wanted in columns:
        return wanted
    return next((name for name in columns if normal(name) == normal(wanted)), None)


def _preferred(spellings: list[str], columns: dict[str, FloatArray]) -> str:
    counts = {name: np.count_nonzero(~np.isnan(columns[name])) for name in spellings}
    return next(name for name in spellings if counts[name] >= OFTEN * max(counts.values()))


def _bookkeeping(columns: Mapping[str, FloatArray]) -> list[str]:
    """Further step counters and clocks, which measure nothing."""
    found = ((name, recognise(name)) for name in columns)
    return [name for name, known in found if known and known[0] in ("step", "runtime", "timestamp", "epoch")]


def _in_our_unit(ours: str, name: str, values: FloatArray) -> FloatArray | None:
    """Percentages as fractions; None where the numbers can't be what the name says (a count of codes)."""
    finite = values[np.isfinite(values)]
    if ours not in FRACTIONS or not finite.size or name == ours == "device_use":
        return values
    highest = float(finite.max())
    told = ours == "device_use" or "percent" in name or "pct" in name
    counts = ours == "codebook_usage" and bool((finite == np.floor(finite)).all())
    if highest > 100 or (highest > 1 and counts and not told):
        return None
    return values / 100 if told or highest > 1 else values
