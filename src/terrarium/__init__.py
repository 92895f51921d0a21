"""Terrarium grows a small playable world out of gameplay video, and tells the truth about its health.

`World` and `Dataset` are the whole public surface; they are imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terrarium.data.dataset import Dataset
    from terrarium.models.world import World

__all__ = ["Dataset", "World"]


def __getattr__(name: str) -> object:
    if name == "World":
        from terrarium.models.world import World

        return World
    if name == "Dataset":
        from terrarium.data.dataset import Dataset

        return Dataset
    raise AttributeError(f"module 'terrarium' has no attribute {name!r}")
