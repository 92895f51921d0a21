"""Where training meets the doctor: gates that ask it, trials that test a cause, and cures."""

from __future__ import annotations

from terrarium.healing.gate import DoctorGate
from terrarium.healing.play_gate import shortfalls

__all__ = ["DoctorGate", "shortfalls"]
