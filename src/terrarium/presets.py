"""Three sizes of a run: what each preset sets beyond the defaults of the configuration."""

from __future__ import annotations

from typing import Any

from terrarium.config import Config
from terrarium.errors import UsageError

PRESETS: dict[str, dict[str, Any]] = {
    # Two CPU cores, a quarter of an hour.
    "quick": {
        "video_tokenizer": {"steps": 600, "batch_size": 32, "clip_frames": 2, "learning_rate": 2e-3},
        "latent_actions": {"steps": 900, "batch_size": 16, "clip_frames": 7, "learning_rate": 2e-3},
        "dynamics": {
            "steps": 700,
            "batch_size": 8,
            "clip_frames": 12,
            "learning_rate": 2e-3,
        },
    },
    # A laptop overnight, or one small GPU for an hour or two.
    "small": {
        "video_tokenizer": {
            "steps": 10_000,
            "batch_size": 64,
            "clip_frames": 2,
            "learning_rate": 1e-3,
            "width": 48,
            "decoder_width": 96,
            "checkpoint_every": 500,
            "picture_every": 1000,
            "gate_every": 200,
            "warmup_steps": 200,
            "ema_decay": 0.999,
        },
        "latent_actions": {
            "steps": 6_000,
            "batch_size": 32,
            "clip_frames": 7,
            "learning_rate": 1e-3,
            "width": 48,
            "checkpoint_every": 500,
            "picture_every": 1000,
            "gate_every": 200,
            "warmup_steps": 200,
            "ema_decay": 0.999,
        },
        "dynamics": {
            "steps": 20_000,
            "batch_size": 16,
            "clip_frames": 16,
            "learning_rate": 1e-3,
            "width": 256,
            "heads": 8,
            "trunk_layers": 5,
            "head_layers": 3,
            "checkpoint_every": 500,
            "picture_every": 1000,
            "gate_every": 200,
            "warmup_steps": 400,
            "ema_decay": 0.999,
        },
    },
    # One good GPU for a day or two.
    "base": {
        "video_tokenizer": {
            "steps": 40_000,
            "batch_size": 128,
            "clip_frames": 2,
            "learning_rate": 1e-3,
            "width": 64,
            "decoder_width": 128,
            "checkpoint_every": 1000,
            "picture_every": 2500,
            "gate_every": 500,
            "warmup_steps": 500,
            "ema_decay": 0.999,
        },
        "latent_actions": {
            "steps": 20_000,
            "batch_size": 64,
            "clip_frames": 9,
            "learning_rate": 1e-3,
            "width": 64,
            "motion_size": 32,
            "checkpoint_every": 1000,
            "picture_every": 2500,
            "gate_every": 500,
            "warmup_steps": 500,
            "ema_decay": 0.999,
        },
        "dynamics": {
            "steps": 100_000,
            "batch_size": 32,
            "clip_frames": 24,
            "learning_rate": 6e-4,
            "width": 512,
            "heads": 8,
            "trunk_layers": 8,
            "head_layers": 4,
            "context_frames": 16,
            "checkpoint_every": 1000,
            "picture_every": 2500,
            "gate_every": 500,
            "warmup_steps": 1000,
            "ema_decay": 0.9995,
        },
    },
}


def preset(name: str) -> Config:
    """The configuration of a preset.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}", f"The presets are: {', '.join(PRESETS)}.")
    return Config(preset=name, **PRESETS[name])
