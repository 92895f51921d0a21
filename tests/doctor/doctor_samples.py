"""A run folder written by hand: stages with histories, pictures and scores, as training leaves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save

from terrarium.run.checkpoint import commit_checkpoint
from terrarium.run.folder import StageFolder

STEPS = {"video_tokenizer": 1200, "latent_actions": 600, "dynamics": 2400}
CONFIGS: dict[str, dict[str, Any]] = {
    "video_tokenizer": {"steps": 1200, "chance_level": {"mean frame": 0.09, "copied last frame": 0.012}},
    "latent_actions": {"steps": 600, "chance_level": 1.0},
    "dynamics": {"steps": 3000, "chance_level": 6.931},
}
RUN: dict[str, Any] = {
    "format": 1,
    "id": "okmjny24",
    "created": "2026-02-06T00:44:31+00:00",
    "data": "footage/vizdoom_basic",
    "data_fingerprint": "c0ffee0123456789",
    "preset": "quick",
    "device": "cpu",
    "commit": "0123abc",
    "versions": {"python": "3.11.7", "torch": "2.13.0", "terrarium": "0.1.0"},
    "config": {
        "seed": 0,
        **{name: {"steps": config["steps"], "batch": 16} for name, config in CONFIGS.items()},
    },
}
SCORES: dict[str, Any] = {
    "video_tokenizer": {
        "psnr": 31.24,
        "moving_psnr": 24.91,
        "ssim": 0.9312,
        "codes_used": 742,
        "copy_last_moving_psnr": 18.02,
        "mean_frame_moving_psnr": 16.4,
    },
    "latent_actions": {
        "accuracy": 0.5214,
        "majority_accuracy": 0.3107,
        "supervised_accuracy": 0.7351,
        "mutual_information": 0.4127,
        "codes_used": 6,
        "shuffled_loss_ratio": 1.2718,
        "table": [[412, 31, 12], [20, 288, 40], [77, 80, 71], [0, 0, 0]],
        "action_names": ["attack", "move left", "move right"],
    },
    "dynamics": {
        "delta_psnr_t4": {"mean": 0.927, "low": 0.611, "high": 1.243},
        "rollout_psnr": {"1": 27.1, "4": 24.6, "16": 22.0, "64": 19.8},
        "copy_last_psnr": {"1": 27.9, "4": 22.6, "16": 20.1, "64": 18.9},
        "mean_frame_psnr": {"1": 19.9, "4": 19.8, "16": 19.9, "64": 19.7},
    },
    "play": {
        "frames_per_second": 26.4,
        "frames_per_second_without_decoding": 33.9,
        "p99_ms": 61.3,
        "extra": [1],
    },
}


def history_rows(stage: str, steps: int, seed: int = 7) -> list[dict[str, Any]]:
    """Plausible rows: a falling, noisy loss and the stage's own measures."""
    rng = np.random.default_rng(seed)
    start, end = {"video_tokenizer": (0.15, 0.0017), "latent_actions": (1.05, 0.62)}.get(stage, (7.1, 2.4))
    rows = []
    for step in range(steps):
        loss = end + (start - end) * np.exp(-6 * step / steps)
        row = {
            "step": step,
            "runtime": 0.12 * (step + 1),
            "loss": float(loss * rng.lognormal(0, 0.12)),
            "learning_rate": 1e-3 * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * step / steps)),
            "grad_norm": float(rng.lognormal(-0.5, 0.3)),
            "frames_per_second": float(rng.normal(260, 18)),
        }
        if stage == "video_tokenizer":
            row["codebook_usage"] = 0.74 * (1 - np.exp(-5 * step / steps))
        elif stage == "latent_actions":
            row |= {"action_entropy": 1.2 + 0.3 * rng.random(), "unique_actions": int(rng.integers(4, 7))}
        else:
            row["accuracy"] = 0.6 * (1 - np.exp(-4 * step / steps))
        rows.append(row)
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_picture(folder: Path, what: str, step: int, labels: list[str]) -> None:
    """A grid of tiles with coloured discs, truth sharp, model the noisier the earlier, and its sidecar."""
    rng = np.random.default_rng(step)
    tile, rows, columns, padding = 48, len(labels), 8, 2
    sheet = np.full((rows * (tile + padding), columns * (tile + padding), 3), 24, dtype=np.uint8)
    y, x = np.mgrid[:tile, :tile]
    for row in range(rows):
        for column in range(columns):
            centre = (10 + 4 * column + 3 * (row // 2)) % tile
            frame = np.stack([60 + y, 90 + x // 2, 120 + y // 2], axis=-1).astype(np.float64)
            frame[(x - centre) ** 2 + (y - 30) ** 2 < 50] = (230, 180, 90)
            if labels[row] == "model":
                frame += rng.normal(0, 60 / (1 + step / 100), frame.shape)
            top, left = row * (tile + padding), column * (tile + padding)
            sheet[top : top + tile, left : left + tile] = frame.clip(0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(folder / f"{what}_step_{step}.png")
    sidecar = {
        "format": 1,
        "step": step,
        "stage": folder.parent.name,
        "tile": [tile, tile],
        "scale": 1,
        "padding": padding,
        "rows": rows,
        "columns": columns,
        "row_labels": labels,
    }
    (folder / f"{what}_step_{step}.json").write_text(json.dumps(sidecar), "utf-8")


def save_checkpoint(stage_path: Path, step: int) -> Path:
    """A tiny checkpoint, committed as training does."""
    weight = np.full((2, 3), 0.5 + step, dtype=np.float32)
    slots = {f"head.weight/{slot}": weight for slot in ("exp_avg", "exp_avg_sq")}
    slots |= {"head.weight/step": np.array(step, dtype=np.float32)}
    files = {
        "model.safetensors": save({"head.weight": weight}),
        "ema.safetensors": save({"head.weight": weight}),
        "optimizer.safetensors": save(slots),
    }
    state = {"parameters": {"head.weight": ["F32", [2, 3]]}, "trained": ["head.weight"]}
    stage = StageFolder(stage_path, stage_path.name, RUN["id"])
    return commit_checkpoint(stage, step, files, state=state, keep=99)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), "utf-8")


def make_run(path: Path) -> Path:
    """Write the whole run folder."""
    path.mkdir(parents=True)
    write_json(path / "run.json", RUN)
    write_json(path / "scores.json", SCORES)
    for stage, steps in STEPS.items():
        folder = path / stage
        folder.mkdir()
        write_json(folder / "config.json", CONFIGS[stage])
        write_rows(folder / "history.jsonl", history_rows(stage, steps))
        what = {"video_tokenizer": "reconstruction", "latent_actions": "reconstruction"}.get(
            stage, "prediction"
        )
        for step in (0, steps // 2, steps):
            write_picture(folder / "visualizations", what, step, ["truth", "model"] * 4)
        for step in (steps // 2, steps):
            save_checkpoint(folder, step)
    taken_back = [
        {"step": step, "loss": 3.0, "reason": "resumed from step 2000"} for step in range(2000, 2012)
    ]
    write_rows(path / "dynamics" / "history.discarded.jsonl", taken_back)
    return path


def make_small_run(path: Path) -> Path:
    """A run with every kind of file and next to nothing in it: quick to report on."""
    path.mkdir(parents=True)
    write_json(path / "run.json", RUN)
    write_json(path / "scores.json", SCORES)
    for stage in STEPS:
        folder = path / stage
        folder.mkdir()
        write_json(folder / "config.json", CONFIGS[stage])
        write_rows(folder / "history.jsonl", [{"step": 0, "loss": 1.25, "runtime": 0.5}])
        write_picture(folder / "visualizations", "prediction", 1, ["truth", "model"])
        save_checkpoint(folder, 1)
    return path
