"""All faults, in the order of the table."""

from __future__ import annotations

from faults import (
    damage,
    damaged_logs,
    hostile,
    lives,
    logs,
    quiet,
    resumes,
    saving,
    slow_saves,
    small_disk,
    training,
)
from faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *saving.FAULTS,
    *damage.FAULTS,
    *small_disk.FAULTS,
    *hostile.FAULTS,
    *damaged_logs.FAULTS,
    *lives.FAULTS,
    *slow_saves.FAULTS,
    *resumes.FAULTS,
    *quiet.FAULTS,
    *training.FAULTS,
    *logs.FAULTS,
)
NOT_YET = {1: "all ranks save one path", 50: "one seed for all ranks"}
"""Of the catalogue, not in this suite: what takes several ranks."""
