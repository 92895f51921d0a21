"""What a launcher (torchrun) says in the environment: who we are among the processes that it started."""

from __future__ import annotations

import os

WORDS = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)


def rank() -> int:
    """Our number among all processes, 0 for the first or only one."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Our number among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def count() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def by_torchrun() -> bool:
    """Whether it was torchrun that started us, as one of several."""
    return count() > 1 and "TORCHELASTIC_RUN_ID" in os.environ


def alone() -> dict[str, str]:
    """The environment without the launcher's variables, for a process that we start alone."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in WORDS and not key.startswith("TORCHELASTIC_")
    }
