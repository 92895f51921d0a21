"""The generator of runs keeps its promises: seeds, laws, files, and faults that can be seen."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from patients.runs.case import Case
from patients.runs.files import STYLES, write
from patients.runs.kinds import FAULTY_KINDS, HEALTHY_KINDS, KINDS, draw
from terrarium.doctor.history import FloatArray

SEEDS = range(0, 14, 2)  # seven of the tuning half


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_keeps_its_promises(kind: str) -> None:
    cases = [draw(kind, seed) for seed in SEEDS]
    _, needs = KINDS[kind]
    assert len({case.noise for case in cases}) >= 3
    assert len({case.rows for case in cases}) > 1
    for case in cases:
        assert {"step", "loss", *needs.columns} <= set(case.columns) <= set(STYLES[case.style].names)
        assert {values.size for values in case.columns.values()} == {case.rows}
        assert case.truth.healthy == (kind in HEALTHY_KINDS)
        assert case.truth.main in case.truth.codes | {""}
        assert case.truth.codes <= case.truth.leads
        steps = case.columns["step"]
        assert all(steps.min() <= onset <= steps.max() for onset in case.truth.onsets)


@pytest.mark.parametrize("kind", ["creeps-up", "steps-repeat", "clean-resume", "noisy-validation"])
def test_the_same_seed_gives_the_same_run_and_another_one_another(kind: str) -> None:
    first, again, other = draw(kind, 6), draw(kind, 6), draw(kind, 7)
    assert first.columns.keys() == again.columns.keys()
    assert all(np.array_equal(values, again.columns[name]) for name, values in first.columns.items())
    assert not np.array_equal(first.columns["loss"], other.columns["loss"])


def test_runs_differ_in_everything_that_detectors_may_not_lean_on() -> None:
    cases = [draw(kind, seed) for kind in KINDS for seed in (0, 2)]
    losses = [abs(float(np.nanmedian(case.columns["loss"]))) for case in cases]
    assert min(losses) < 1e-2 and max(losses) > 10
    assert any(np.nanmax(case.columns["loss"]) < 0 for case in cases)
    assert {case.style for case in cases} == set(STYLES)
    assert {case.stage for case in cases} == {"training", "dynamics", "latent_actions", "video_tokenizer"}
    assert any("runtime" not in case.columns for case in cases)
    assert any(not case.config for case in cases) and any(case.config for case in cases)


@pytest.mark.parametrize("style", STYLES)
def test_files_hold_what_the_case_holds(style: str, tmp_path: Path) -> None:
    case = next(
        case
        for seed in range(0, 400, 2)
        if (case := draw("noisy-validation", seed)).style == style and case.rows < 5000
    )
    path = write(case, tmp_path)
    names, there = STYLES[style].names, case.logged["validation_loss"]
    rows = _read(path)
    losses = [float(row[names["loss"]]) for row in rows if row.get(names["loss"]) not in ("", None)]
    checks = [
        float(row[names["validation_loss"]])
        for row in rows
        if row.get(names["validation_loss"]) not in ("", None)
    ]
    closeness = 1e-4 if case.decimals is None else 1e-2
    assert np.allclose(losses, case.columns["loss"], rtol=closeness, atol=10.0 ** -(case.decimals or 9))
    assert len(checks) == there.sum()
    assert (tmp_path / "config.json").exists() == bool(case.config)


@pytest.mark.parametrize(("kind", "value"), [("becomes-nan", math.nan), ("inf-recovers", math.inf)])
def test_what_is_not_finite_is_written_down(kind: str, value: float, tmp_path: Path) -> None:
    for seed in SEEDS:
        case = draw(kind, seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        name = STYLES[case.style].names["loss"]
        written = [row.get(f"{name}_text", row.get(name)) for row in _read(write(case, folder))]
        read = np.array([float(text) for text in written if text not in ("", None)])
        assert np.array_equal(np.isfinite(read), np.isfinite(case.columns["loss"]))
        assert np.isin(read[~np.isfinite(read)], [value]).all() or math.isnan(value)


def _read(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    text = path.read_text("utf-8")
    rows: list[dict[str, str]] = (
        [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    )
    return rows


def _around(case: Case, column: str = "loss") -> tuple[FloatArray, FloatArray]:
    """Values of a column before the onset, a tenth of the run long, and at the end of the run."""
    values, tenth = case.columns[column], max(5, case.rows // 10)
    row = int(np.argmax(case.columns["step"] >= case.truth.onsets[0]))
    return values[max(0, row - tenth) : max(3, row)], values[-tenth:]


def _rises(case: Case) -> bool:
    """The end lies above what was before, by more than medians of this noise scatter."""
    before, end = _around(case)
    low, high = np.median(before), np.median(end)
    return bool(high - low > np.median(np.abs(end - high)))


def _falls_to(column: str, share: float) -> Callable[[Case], bool]:
    def falls(case: Case) -> bool:
        before, end = _around(case, column)
        early = np.median(before) if case.truth.onsets[0] > case.columns["step"][0] else 1.0
        return bool(np.median(end) < share * early)

    return falls


def _has_longest_gap(case: Case) -> bool:
    return bool(np.diff(case.columns["runtime"]).max() > 2 * 3600)


def _slows(case: Case) -> bool:
    taken = np.diff(case.columns["runtime"])
    return bool(np.median(taken[-len(taken) // 10 :]) > 1.5 * np.median(taken[: len(taken) // 10]))


def _jumps(case: Case) -> bool:
    loss, steps = case.columns["loss"], case.columns["step"]
    row = int(np.argmax((np.diff(steps) <= 0) | (np.diff(case.columns["runtime"]) < 0))) + 1
    return bool(np.median(loss[row : row + 5]) > np.median(loss[row - 20 : row]))


VISIBLE: dict[str, Callable[[Case], bool]] = {
    "diverges-from-the-start": _rises,
    "diverges-late": _rises,
    "creeps-up": _rises,
    "spike-stays": _rises,
    "worse-than-chance": lambda case: case.columns["loss"][-1] > 1.3 * case.columns["loss"][0],
    "rate-is-too-high": _rises,
    "starts-without-warm-up": lambda case: case.columns["loss"].max() > 1.3 * case.columns["loss"][0],
    "is-constant": lambda case: np.ptp(case.columns["loss"][-case.rows // 4 :]) == 0,
    "codebook-collapses": _falls_to("codebook_usage", 0.1),
    "actions-collapse": _falls_to("action_entropy", 0.1),
    "entropy-swings": lambda case: (
        sum(a != b for a, b in pairwise((case.columns["action_entropy"] < 0.15).tolist())) > 5
    ),
    "gradient-vanishes": _falls_to("grad_norm", 1e-3),
    "rate-is-zero": lambda case: case.columns["learning_rate"][-case.rows // 3 :].max() == 0,
    "throughput-halves": _slows,
    "throughput-fades": _slows,
    "stalls": _has_longest_gap,
    "steps-repeat": lambda case: case.rows - np.unique(case.columns["step"]).size > 0.05 * case.rows - 1,
    "jumps-after-a-resume": _jumps,
}


@pytest.mark.parametrize("kind", VISIBLE)
def test_a_fault_can_be_seen_in_its_numbers(kind: str) -> None:
    assert [seed for seed in SEEDS if not VISIBLE[kind](draw(kind, seed))] == []


def test_every_fault_has_a_kind() -> None:
    mains = {draw(kind, 0).truth.main for kind in FAULTY_KINDS}
    assert mains >= {
        "loss-not-finite",
        "loss-diverging",
        "loss-drifting-up",
        "loss-worse-than-chance",
        "loss-not-learning",
        "loss-constant",
        "loss-spike",
        "loss-jump",
        "loss-sawtooth",
        "loss-unit",
        "overfitting",
        "codebook-collapsed",
        "actions-collapsed",
        "actions-narrow",
        "actions-unstable",
        "learning-rate-too-high",
        "learning-rate-zero",
        "learning-rate-no-warmup",
        "learning-rate-not-applied",
        "gradient-exploding",
        "gradient-vanishing",
        "throughput-dropped",
        "run-stalled",
        "steps-repeated",
    }
