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
    several,
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
    *several.FAULTS,
    *training.FAULTS,
    *logs.FAULTS,
)
