"""The seed's run, rebuilt from the figures that its report published: TinyWorlds on Zelda, February 2026.

results/2026_02_04_19_51_20/video_tokenizer/   converged
results/2026_02_05_21_05_51/latent_actions/    converged, with few of its 16 actions in use
results/2026_02_06_00_44_31/dynamics/          diverging at a learning rate of 0.01; 24 of its 26
                                               checkpoints were emptied by a second rank
Logs/<stage>_history_<run id>_latest.{json,csv}
configs/{training,video_tokenizer,latent_actions,dynamics}.yaml
"""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml

from patients import painters, scenes, zelda_histories
from patients.pictures import figure, masked
from patients.zelda_histories import Floats

Row: TypeAlias = dict[str, float | int]

FOLDERS = {
    "video_tokenizer": "2026_02_04_19_51_20",
    "latent_actions": "2026_02_05_21_05_51",
    "dynamics": "2026_02_06_00_44_31",
}
RUN_IDS = {"video_tokenizer": "okmjny24", "latent_actions": "d376skck", "dynamics": "2pghxx71"}
CHECKPOINTS = tuple(range(0, 50_001, 2000))
USABLE = (26_000, 44_000)
SHARED: dict[str, Any] = {
    "use_wandb": True,
    "wandb_project": "tinyworlds",
    "dataset": "ZELDA",
    "preload_ratio": 1.0,
    "patch_size": 4,
    "context_length": 4,
    "frame_size": 64,
    "latent_dim": 5,
    "num_bins": 4,
    "n_actions": 16,
    "amp": True,
    "tf32": True,
    "compile": True,
    "distributed": {"use_ddp": True, "use_fsdp": False, "reshard_after_forward": False},
    "nproc_per_node": 2,
    "standalone": True,
}
OWN: dict[str, dict[str, Any]] = {
    "video_tokenizer": {"n_updates": 40_000, "learning_rate": 4e-4, "gradient_accumulation_steps": 1},
    "latent_actions": {"n_updates": 10_000, "learning_rate": 4e-4, "gradient_accumulation_steps": 1},
    "dynamics": {"n_updates": 300_000, "learning_rate": 0.01, "gradient_accumulation_steps": 4},
}
MODEL = {"batch_size_per_gpu": 16, "log_interval": 500, "embed_dim": 128, "num_heads": 8, "num_blocks": 8}


def build(
    root: Path,
    rows: int | None = None,
    *,
    with_pictures: bool = True,
    with_checkpoints: bool = True,
    copies: tuple[str, ...] = ("json", "csv"),
) -> Path:
    """Write the run.

    Args:
        root: a new folder.
        rows: how much of dynamics was logged so far; all 50,344 rows if None.
        with_pictures: they take most of the time.
        with_checkpoints: these need torch.
        copies: the formats of each history.

    Returns:
        `root`.
    """
    _write_configs(root / "configs")
    for stage, history in histories(rows).items():
        for suffix in copies:
            _write_history(root / "Logs" / f"{stage}_history_{RUN_IDS[stage]}_latest.{suffix}", history)
        for part in ("checkpoints", "visualizations"):
            (root / "results" / FOLDERS[stage] / stage / part).mkdir(parents=True)
    if with_pictures:
        write_pictures(root / "results")
    if with_checkpoints:
        write_checkpoints(root / "results")
    _as_copied(root)
    return root


def histories(rows: int | None = None) -> dict[str, list[Row]]:
    """Stage -> the rows that its history holds; columns are missing where nothing was logged."""
    return {
        "video_tokenizer": _tokenizer_rows(),
        "latent_actions": _action_rows(),
        "dynamics": _rows("dynamics", zelda_histories.dynamics_loss(), zelda_histories.dynamics_clock())[
            :rows
        ],
    }


def _rows(stage: str, loss: Floats, runtime: Floats) -> list[Row]:
    rates = zelda_histories.learning_rates(loss.size, OWN[stage]["n_updates"], OWN[stage]["learning_rate"])
    columns = zip(runtime.tolist(), loss.tolist(), rates.tolist(), strict=True)
    return [
        {"_step": step, "_runtime": clock, "train/loss": value, "learning_rate/group_0": rate}
        for step, (clock, value, rate) in enumerate(columns)
    ]


def _tokenizer_rows() -> list[Row]:
    loss = zelda_histories.tokenizer_loss()
    rows = _rows("video_tokenizer", loss, zelda_histories.clock(loss.size, [(loss.size - 1, 90_300.0)], 6))
    rng = np.random.default_rng(7)
    for step in range(0, loss.size, 500):
        rows[step]["train/codebook_usage"] = float(0.62 - 0.4 * np.exp(-step / 3000) + rng.normal(0, 0.01))
    return rows


def _action_rows() -> list[Row]:
    loss = zelda_histories.actions_loss()
    rows = _rows("latent_actions", loss, zelda_histories.clock(loss.size, [(loss.size - 1, 12_900.0)], 8))
    for step, entropy, unique in zip(
        range(0, loss.size, 500), *zelda_histories.action_measures(), strict=True
    ):
        rows[step] |= {
            "latent_actions/codebook_usage": float(unique) / 16,
            "action_entropy": float(entropy),
            "unique_actions": int(unique),
        }
    return rows


def _write_history(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_configs(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "training.yaml").write_text(yaml.safe_dump(SHARED, sort_keys=False))
    for stage, own in OWN.items():
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump(MODEL | own, sort_keys=False))


def write_pictures(results: Path) -> None:
    """Fine reconstructions, smooth ones with structure, and predictions of flat areas, stripes and blocks."""
    rng = np.random.default_rng(9)
    truth = np.stack([scenes.tile_world(rng, 4, 64) for _ in range(4)])
    folders = {stage: results / made / stage for stage, made in FOLDERS.items()}
    for step in (10_000, 30_000, 37_500):
        model = painters.soft(truth, rng)
        figure(folders["video_tokenizer"], step, truth, model, "video_tokenizer_recon")
    for step in (0, 9500):
        model = painters.smooth(truth, rng)[:, 1:]
        figure(folders["latent_actions"], step, truth, model, "reconstructions_latent_actions")
    collapses = (painters.flat_areas, painters.stripes, painters.blocks, painters.stripes)
    for step in (10_000, 26_000, 34_000, 44_000, 50_000):
        model = np.concatenate([collapse(truth[:1], rng) for collapse in collapses])
        figure(folders["dynamics"], step, masked(truth, rng), model)


def write_checkpoints(results: Path) -> None:
    """26 of dynamics, all but two with empty dicts for weights and optimizer; one whole for the others."""
    for stage, steps in (
        ("video_tokenizer", (39_500,)),
        ("latent_actions", (9500,)),
        ("dynamics", CHECKPOINTS),
    ):
        for step in steps:
            folder = results / FOLDERS[stage] / stage / "checkpoints" / f"{stage}_step_{step}"
            write_checkpoint(folder, stage, step, empty=stage == "dynamics" and step not in USABLE)


def write_checkpoint(folder: Path, stage: str, step: int, *, empty: bool = False) -> None:
    """One checkpoint as TinyWorlds saves it; `empty` as rank 1 does, whose state dicts hold nothing."""
    import torch

    generator = torch.Generator().manual_seed(step)
    weights = {
        f"transformer.blocks.{block}.ffn.{name}": torch.randn(size, generator=generator) * 0.02
        for block in range(2)
        for name, size in (("w_in.weight", (128, 64)), ("w_in.bias", (128,)), ("w_out.weight", (64, 128)))
    }
    moments = {
        place: {"step": torch.tensor(float(step + 1)), "exp_avg": tensor * 0.01, "exp_avg_sq": tensor**2}
        for place, tensor in enumerate(weights.values())
    }
    planned = OWN[stage]["n_updates"]
    rate = float(zelda_histories.learning_rates(step + 1, planned, OWN[stage]["learning_rate"])[-1])
    group = {"lr": rate, "betas": (0.9, 0.95), "weight_decay": 0.01, "params": list(moments)}
    state = {
        "scheduler_state_dict": {
            "base_lrs": [OWN[stage]["learning_rate"]],
            "last_epoch": step + 1,
            "_step_count": step + 2,
            "_last_lr": [rate],
        },
        "config": SHARED | MODEL | OWN[stage],
        "step": step,
        "timestamp": FOLDERS[stage],
    }
    folder.mkdir(parents=True)
    torch.save({} if empty else weights, folder / "model_state_dict.pt")
    torch.save({} if empty else {"state": moments, "param_groups": [group]}, folder / "optim_state_dict.pt")
    torch.save(state, folder / "state.pt")


def _as_copied(root: Path) -> None:
    """All files of one moment, as an archive that was unpacked."""
    moment = time.time()
    for path in root.rglob("*"):
        os.utime(path, (moment, moment))
