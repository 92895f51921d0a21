"""Real processes from a real game to a world in a real browser: killed, resumed, scored, verified, played."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from headless_browser import headless_chromium
from playwright.sync_api import expect

from terrarium import pipeline
from terrarium.data.dataset import Dataset
from terrarium.run.folder import STAGES, RunFolder
from tiny_training import Told, assert_same_run, flip_a_bit, timeless
from tiny_world import as_options, tiny_config

SETTINGS = (
    *(f"{name}.steps=12" for name in STAGES[:2]),
    *(f"{name}.checkpoint_every=5" for name in STAGES),
    "dynamics.steps=40",
    "dynamics.clip_frames=8",
)
PROMISED = {
    "video_tokenizer": {
        *("psnr", "moving_psnr", "ssim", "codes_used", "copy_last_moving_psnr", "mean_frame_moving_psnr"),
    },
    "latent_actions": {
        *("accuracy", "majority_accuracy", "supervised_accuracy", "mutual_information", "codes_used"),
        "shuffled_loss_ratio",
    },
    "dynamics": {"delta_psnr_t4", "rollout_psnr", "copy_last_psnr", "mean_frame_psnr"},
    "play": {"frames_per_second", "frames_per_second_without_decoding", "p99_ms"},
}


def start(*words: str | Path, folder: Path) -> subprocess.Popen[str]:
    """A process of the command line, with its streams in our hands."""
    return subprocess.Popen(
        [sys.executable, "-m", "terrarium", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def terrarium(*words: str | Path, folder: Path, code: int = 0) -> str:
    """What it prints; it must exit with the code, and without a traceback."""
    with start(*words, folder=folder) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out


def read_until(stream: IO[str] | None, beginning: str) -> str:
    """The first line that begins like that."""
    assert stream is not None
    seen = []
    for line in stream:
        if line.startswith(beginning):
            return line
        seen.append(line)
    raise AssertionError(f"no line begins with {beginning!r} in: {''.join(seen)}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="module")
def footage(folder: Path) -> Dataset:
    pytest.importorskip("vizdoom")
    out = terrarium("record", "VizdoomBasic-v1", "--frames", "300", "--out", "data", folder=folder)
    dataset = Dataset.open(folder / "data")
    assert dataset.fingerprint[:12] in out
    return dataset


@pytest.fixture(scope="module")
def run(footage: Dataset, folder: Path) -> RunFolder:
    """Killed somewhere, then asked to end, then left alone: the same command every time."""
    command = ["train", "--data", "data", "--preset", "quick", "--run", "killed", *as_options(*SETTINGS)]
    dice = random.Random(2)  # noqa: S311 - no secret: where to kill
    with start(*command, folder=folder) as process:
        read_until(process.stderr, dice.choice(STAGES))
        time.sleep(dice.uniform(0, 0.2))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    with start(*command, folder=folder) as process:
        read_until(process.stderr, "dynamics  ")
        process.terminate()
        _, rest = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "SIGTERM at step" in rest
    assert "Resume with: terrarium train --run killed" in rest
    terrarium(*command, folder=folder)
    return RunFolder.open(folder / "killed")


def test_killed_and_resumed_it_is_the_run_that_was_left_alone(
    run: RunFolder, footage: Dataset, folder: Path
) -> None:
    left_alone = pipeline.train(folder / "straight", footage.path, tiny_config(*SETTINGS), Told())
    assert_same_run(run, left_alone)
    assert len(timeless(run.stage("dynamics"))) == 40
    assert sorted(path.name for path in folder.iterdir()) == ["data", "killed", "straight"]


def test_evaluate_prints_what_scripts_rely_on(run: RunFolder, folder: Path) -> None:
    scores = json.loads(terrarium("evaluate", run.path, "--json", folder=folder))
    for part, keys in PROMISED.items():
        assert scores[part].keys() >= keys
    assert scores["dynamics"]["delta_psnr_t4"].keys() >= {"mean", "low", "high"}
    for key in ("rollout_psnr", "copy_last_psnr", "mean_frame_psnr"):
        assert scores["dynamics"][key].keys() == {"1", "4"}
    assert 0 <= scores["latent_actions"]["accuracy"] <= 1
    assert scores["play"]["frames_per_second"] > 0
    assert json.loads((run.path / "scores.json").read_text()) == scores


def test_verify_finds_one_flipped_bit(run: RunFolder, folder: Path) -> None:
    assert "NOT whole" not in terrarium("verify", run.path, folder=folder)
    damaged = Path(shutil.copytree(run.path, folder / "damaged"))
    flip_a_bit(RunFolder.open(damaged).stage("dynamics").checkpoint_path(40) / "ema.safetensors")
    out = terrarium("verify", damaged, folder=folder, code=11)
    assert out.count("NOT whole") == 1
    shutil.rmtree(damaged)


def test_export_writes_what_the_field_s_scripts_read(run: RunFolder, folder: Path) -> None:
    terrarium("export", run.path, "--out", "Logs", folder=folder)
    for name, steps in zip(STAGES, (12, 12, 40), strict=True):
        stem = folder / "Logs" / f"{name}_history_{run.id}_latest"
        rows = json.loads(stem.with_suffix(".json").read_text())
        assert [row["_step"] for row in rows] == list(range(steps))
        assert rows[0].keys() >= {"_step", "_runtime", "train/loss", "learning_rate/group_0"}
        assert len(stem.with_suffix(".csv").read_text().splitlines()) == steps + 1
    shutil.rmtree(folder / "Logs")


def test_the_world_is_played_in_a_browser(run: RunFolder, folder: Path) -> None:
    with start("play", run.path, "--port", "0", folder=folder) as process:
        try:
            url = read_until(process.stdout, "play at ").split()[2]
            with headless_chromium() as browser:
                page = browser.new_page()
                page.goto(url)
                expect(page.locator("html")).to_have_attribute("data-state", "connected")
                page.select_option("#pace", "2")
                page.evaluate("document.activeElement.blur()")
                for frame, key in enumerate(("1", "3", "2"), 1):
                    page.keyboard.press(key)
                    expect(page.locator("#frame")).to_have_text(str(frame))
                page.click("#reset")
                expect(page.locator("#frame")).to_have_text("0")
                page.keyboard.press("1")
                expect(page.locator("#frame")).to_have_text("1")
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
