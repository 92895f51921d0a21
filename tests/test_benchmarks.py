"""The benchmarks run, and judge as they say; what they measure here means nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from terrarium.cli import main as terrarium
from terrarium.data.dataset import Dataset
from terrarium.run.folder import STAGES, RunFolder, write_json
from terrarium.run.history import History
from tiny_world import as_options

FOLDER = Path(__file__).parents[1] / "benchmarks"

GOOD: dict[str, Any] = {
    "video_tokenizer": {
        "psnr": 31.0,
        "moving_psnr": 25.0,
        "copy_last_moving_psnr": 20.0,
        "mean_frame_moving_psnr": 18.0,
        "ssim": 0.9,
        "codes_used": 700,
    },
    "latent_actions": {
        "accuracy": 0.6,
        "majority_accuracy": 0.3,
        "supervised_accuracy": None,
        "mutual_information": 0.3,
        "codes_used": 7,
        "shuffled_loss_ratio": 1.5,
    },
    "dynamics": {
        "delta_psnr_t4": {"mean": 0.7, "low": 0.4, "high": 1.0},
        "rollout_psnr": {"1": 25.0, "4": 24.0, "16": 22.0, "64": 18.0},
        "copy_last_psnr": {"1": 26.0, "4": 22.0, "16": 19.0, "64": 18.5},
        "tokenizer_ceiling_psnr": {"1": 28.0},
    },
    "play": {"frames_per_second": 30.0, "p99_ms": 60.0, "context_frames": 8},
}


def load(name: str) -> ModuleType:
    """A benchmark as a module; it is no part of the package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name: str, *words: str) -> Result:
    return CliRunner().invoke(load(name).main, words, catch_exceptions=False)


def row(output: str, figure: str) -> list[str]:
    """The first row of a Markdown table that begins with a name."""
    line = next(line for line in output.splitlines() if line.startswith(f"| {figure}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def scored_run(path: Path, scores: dict[str, Any], rate: float = 250.0) -> Path:
    run = RunFolder.create(path, facts={"commit": "abc", "threads": 2})
    for stage in STAGES:
        with History(run.stage(stage).create()) as history:
            for step in range(3):
                history.append({"step": step, "runtime": 60.0 * (step + 1), "frames_per_second": rate})
    write_json(path / "scores.json", scores)
    return path


def test_speed_prints_every_line_with_its_ratio(footage: Dataset) -> None:
    sizes = ["--threads", "1", "--rounds", "1", "--steps", "1", "--play-steps", "2"]
    result = call("speed", "--data", str(footage.path), *sizes, *as_options())
    assert result.exit_code == 0
    for name in ("train video_tokenizer", "train latent_actions", "train dynamics", "play, with decoding"):
        assert float(row(result.output, name)[1]) > 0
    assert float(row(result.output, "train video_tokenizer")[2]) == 1.0
    assert float(row(result.output, "play, without decoding")[4]) > 0


def test_speed_makes_noise_of_its_own(tmp_path: Path) -> None:
    noise = load("speed").noise_footage(tmp_path / "noise")
    assert (noise.height, noise.width, noise.action_names) == (64, 64, None)
    frames_THWC = noise.train[0].frames_THWC
    assert (frames_THWC[1, :, 1:] == frames_THWC[0, :, :-1]).all()


def test_latent_actions_prints_tables_as_often_as_asked(footage: Dataset) -> None:
    words = ["--data", str(footage.path), "--threads", "1", "--steps", "4", "--every", "2"]
    result = call("latent_actions", *words, *as_options())
    assert result.exit_code == 0
    assert [line.split()[1] for line in result.output.splitlines() if line.startswith("step ")] == ["2", "4"]
    assert row(result.output, "code") == ["code", "up", "down", "left", "right"]
    tables = [
        line for line in result.output.splitlines() if line.startswith(("| 0 ", "| 1 ", "| 2 ", "| 3 "))
    ]
    counted = sum(int(cell) for line in tables for cell in line.strip("|").split("|")[1:])
    assert counted == 2 * sum(len(episode) - 1 for episode in footage.held_out)


def test_latent_actions_wants_true_actions(tmp_path: Path) -> None:
    noise = load("speed").noise_footage(tmp_path / "noise")
    result = call("latent_actions", "--data", str(noise.path), "--threads", "1")
    assert result.exit_code == 1 and "has no true actions" in result.output


def test_quality_of_a_good_run(tmp_path: Path) -> None:
    result = call("quality", "--run", str(scored_run(tmp_path / "run", GOOD)))
    assert result.exit_code == 0 and "all reached" in result.output
    assert row(result.output, "latent_actions.accuracy")[1:] == [
        "0.6",
        ">= 0.5 (majority_accuracy + 0.2)",
        "yes",
    ]
    assert row(result.output, "dynamics.rollout_psnr.1")[3] == "no (aim)"
    assert row(result.output, "minutes")[1:] == ["9 min", "< 15", "yes"]


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("video_tokenizer", "psnr", 29.9),
        ("video_tokenizer", "moving_psnr", 20.0),
        ("latent_actions", "accuracy", 0.49),
        ("latent_actions", "accuracy", None),
        ("latent_actions", "codes_used", 1),
        ("dynamics", "delta_psnr_t4", {"mean": 0.6, "low": 0.0}),
        ("play", "p99_ms", 100.0),
    ],
)
def test_quality_of_a_run_that_misses_one_target(tmp_path: Path, group: str, key: str, value: object) -> None:
    scores = {**GOOD, group: {**GOOD[group], key: value}}
    result = call("quality", "--run", str(scored_run(tmp_path / "run", scores)))
    assert result.exit_code == 1 and "1 missed" in result.output


def test_quality_counts_speed_too(tmp_path: Path) -> None:
    result = call("quality", "--run", str(scored_run(tmp_path / "run", GOOD, rate=100.0)))
    assert result.exit_code == 1 and "3 missed" in result.output


def test_quality_runs_a_demo_that_the_command_line_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        called.append(command)
        scored_run(tmp_path / "run", GOOD)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    result = call("quality", str(tmp_path / "run"), "--set", "seed=1")
    assert result.exit_code == 0
    (_, _, package, verb, *words) = called[0]
    context = terrarium.commands[verb].make_context(verb, words)
    assert (package, context.params["no_play"], context.params["assignments"]) == (
        "terrarium",
        True,
        ("seed=1",),
    )


def test_quality_of_a_run_without_scores(tmp_path: Path) -> None:
    path = scored_run(tmp_path / "run", GOOD)
    (path / "scores.json").unlink()
    result = call("quality", "--run", str(path))
    assert result.exit_code == 1 and "terrarium evaluate" in result.output


def test_the_doctor_s_speed_reads_every_format(tmp_path: Path) -> None:
    rows = list(load("doctor_speed").long_histories(tmp_path, 100, repeat=1))
    assert [str(row[0]).partition(",")[0] for row in rows] == [
        "csv",
        "json",
        "jsonl",
        "wandb",
        "tensorboard",
        "trackio",
    ]
    assert all(row[3] == "yes" for row in rows)


def test_healing_breaks_a_stage_of_a_copy_and_tells_what_became_of_it(
    trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    words = [str(trained.path), "--case", "batch that is not finite"]
    healed = call("healing", *words, "--keep", str(tmp_path / "healed"))
    cells = row(healed.output, "batch that is not finite")
    assert cells[1:7] == ["3", "3", "loss-not-finite", "-", "roll back", "0 of 6 (0.0 %)"]
    assert (cells[9:], healed.exit_code) == (["normal", "0, report"], 0)
    history = tmp_path / "healed" / "batch-that-is-not-finite" / "video_tokenizer" / "history.jsonl"
    assert len(history.read_bytes().splitlines()) == 6
    stopped = call("healing", *words, "--no-heal")
    cells = row(stopped.output, "batch that is not finite")
    assert (cells[5], cells[10], stopped.exit_code) == ("stop", "1, report", 0)


def test_memory_trains_under_a_limit_that_the_kernel_keeps(tmp_path: Path) -> None:
    """In a process of its own, which ends with its limit; at this size only that and the lines are told."""
    words = ["--limit", "500", "--times", "1.2", "--files", "30", "--rounds", "1", "--steps", "1"]
    words += ["--threads", "1", "--folder", str(tmp_path), *as_options("video_tokenizer.batch_size=4")]
    command = [sys.executable, str(FOLDER / "memory.py"), *words]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, process.stderr
    for name in ("train video_tokenizer", "train latent_actions", "tokenize", "train dynamics"):
        assert float(row(process.stdout, name)[3]) > 0
    assert "at most 500 MiB of private memory" in process.stdout
    assert re.search(r"in \d\d files", process.stdout)
    assert list(tmp_path.iterdir()) == []
