"""What a log tells beside its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from terrarium.doctor.json_files import JsonObject

MOST_SETTINGS = 2000
DEEPEST = 8


@dataclass
class Facts:
    """What a log tells beside its rows.

    Attributes:
        run: the run's id or name.
        config: the training's configuration.
        summary: last values that the logger kept itself.
    """

    run: str = ""
    config: JsonObject = field(default_factory=dict)
    summary: JsonObject = field(default_factory=dict)


def put(target: JsonObject, keys: Sequence[str], value: Any) -> None:
    """Set a value in nested objects, within bounds: `put(config, ["model", "codes"], 1024)`."""
    for key in keys[:-1][:DEEPEST]:
        if len(target) >= MOST_SETTINGS:
            return
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        target = inner
    if keys and (len(target) < MOST_SETTINGS or keys[-1] in target):
        target[keys[-1]] = value
