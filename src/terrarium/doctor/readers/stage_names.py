"""Which stage a name refers to: `dynamics_history_2pghxx71_latest.csv`, `LAM`, `VideoTokenizer`."""

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
    """The stage that the name of a file or column mentions first, or None."""
    fits = [(place, -length, stage) for place, length, stage in _fits(name)]
    return min(fits)[2] if fits else None


def stage_of_folder(name: str) -> str | None:
    """The stage that a folder is called after: its name must begin with it, as in `dynamics_2026_02_06`."""
    fits = [(-length, stage) for place, length, stage in _fits(name) if place == 0]
    return min(fits)[1] if fits else None


def stage_of(path: Path, top: Path) -> str | None:
    """The stage in a file's name, else that of the nearest folder named after one, up to `top`."""
    named = None if path.is_dir() else stage_named(path.stem)
    folders = (path, *path.parents) if path.is_dir() else path.parents
    for folder in folders:
        if named or not (folder == top or top in folder.parents):
            return named
        named = stage_of_folder(folder.name)
    return named


def in_training_order(names: Iterable[str]) -> list[str]:
    """The three stages first, in the order of training; all others as they come."""
    given = list(dict.fromkeys(names))
    return [name for name in STAGES if name in given] + [name for name in given if name not in STAGES]


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or `wanted-2`, `wanted-3` ... where it is taken."""
    used = set(taken)
    wanted = wanted[:LONGEST_NAME]
    numbered = (f"{wanted}-{number}" for number in range(2, len(used) + 3))
    return next(name for name in (wanted, *numbered) if name not in used)


def _fits(name: str) -> list[tuple[int, int, str]]:
    """(place, number of words, stage) of every alias in a name."""
    words = [word.lower() for word in _WORD.findall(name[:500])]
    return [
        (place, len(alias), stage)
        for stage, aliases in ALIASES.items()
        for alias in aliases
        for place in range(len(words) - len(alias) + 1)
        if tuple(words[place : place + len(alias)]) == alias
    ]
