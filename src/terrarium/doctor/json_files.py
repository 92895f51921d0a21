"""JSON that somebody else wrote: whether damaged, huge, nested or not finite, it never stops a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json

from terrarium.run import disk

JsonObject: TypeAlias = dict[str, Any]

LARGEST_JSON_BYTES = 16 * 2**20
"""Configurations, sidecars and scores are small; anything larger is not one of ours."""


def read_object(path: Path, largest_bytes: int = LARGEST_JSON_BYTES) -> tuple[JsonObject, str]:
    """Read a JSON object, or say why there is none.

    Args:
        path: the file; it may be missing, damaged, huge or deeply nested.
        largest_bytes: files above this size are refused unread.

    Returns:
        The object and "", or an empty object and the reason, a code of `[why]` in the language files.
    """
    try:
        content = disk.read_bounded(path, largest_bytes)
    except (OSError, ValueError) as error:
        return {}, why(error)
    try:
        value = from_json(content)
    except ValueError:
        return {}, "damaged"
    return (value, "") if isinstance(value, dict) else ({}, "no-object")


def why(error: OSError | ValueError) -> str:
    """Why a file could not be read, as a code of `[why]` in the language files."""
    match error:
        case FileNotFoundError():
            return "absent"
        case PermissionError():
            return "no-permission"
        case OSError():
            return "unreadable"
    return "no-file"


def strict(value: Any) -> Any:
    """A copy that strict JSON can hold: floats that are not finite become "nan", "inf" or "-inf"."""
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def number(value: Any) -> float | None:
    """`value` as a finite float, or None where it is not a number (a boolean is not one)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def mapping(value: Any) -> JsonObject:
    """`value` where it is an object, else an empty one: a file may hold anything under a key."""
    return value if isinstance(value, dict) else {}
