"""Which stage a name speaks of: `dynamics_history_2pghxx71_latest.csv`, `LAM`, `VideoTokenizer`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from terrarium.run.folder import STAGES

UNNAMED = "training"
LONGEST_NAME = 80
ALIASES = {
    "video_tokenizer": (("video", "tokenizer"), ("tokenizer",), ("vqvae",), ("vq", "vae"), ("vqgan",)),
    "latent_actions": (
        ("latent", "action", "model"),
        ("latent", "actions"),
        ("latent", "action"),
        ("action", "tokenizer"),
        ("lam",),
    ),
    "dynamics": (("dynamics", "model"), ("dynamics",)),
}
"""Stage -> the words that name it; the longest that fits counts."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def stage_named(name: str) -> str | None:
    """The stage that a file, folder or column name speaks of first, or None."""
    words = [word.lower() for word in _WORD.findall(name[:500])]
    fits = [
        (place, -len(alias), stage)
        for stage, aliases in ALIASES.items()
        for alias in aliases
        for place in range(len(words) - len(alias) + 1)
        if tuple(words[place : place + len(alias)]) == alias
    ]
    return min(fits)[2] if fits else None


def stage_of(path: Path, top: Path) -> str | None:
    """The stage that a path speaks of: its own name first, then the folders above it up to `top`."""
    for part in (path, *path.parents):
        named = stage_named(part.name)
        if named or part == top:
            return named
    return None


def stage_of_columns(columns: Iterable[str]) -> str | None:
    """The stage that the columns of a history speak of, where they speak of one only."""
    named = {stage_named(column.rpartition("/")[0]) for column in columns} - {None}
    return named.pop() if len(named) == 1 else None


def in_training_order(names: Iterable[str]) -> list[str]:
    """The three stages first, as they stand on each other; all others as they come."""
    given = list(dict.fromkeys(names))
    return [name for name in STAGES if name in given] + [name for name in given if name not in STAGES]


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3` ... where it is taken."""
    used = set(taken)
    wanted = wanted[:LONGEST_NAME]
    numbered = (f"{wanted}-{number}" for number in range(2, len(used) + 3))
    return next(name for name in (wanted, *numbered) if name not in used)
