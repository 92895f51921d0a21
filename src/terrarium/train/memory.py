"""How much memory training takes and how much is left: two columns of the history, for the doctor."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

from terrarium.run.rows import Row

MIB = 2**20
STATM, MEMINFO, CGROUP = Path("/proc/self/statm"), Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def memory_of(device: torch.device) -> Row:
    """The memory that this process holds and may still take, in MiB, on the device that it trains on.

    Returns:
        `process_memory` and `memory_left`; empty if the system does not say.
    """
    if device.type == "cuda":
        held, free = torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[0]
        left: float = free + torch.cuda.memory_reserved(device) - held
    else:
        try:
            size, resident, shared = _pages()
            # file-backed pages can be dropped and read again: mapped footage is not a leak
            held, left = resident - shared, min(_available(), _below_limit(size), _in_group())
        except (OSError, ValueError):
            return {}
    return {"process_memory": round(held / MIB, 1), "memory_left": round(left / MIB, 1)}


def _pages() -> tuple[int, int, int]:
    """Bytes of address space, bytes in memory, and how many of those are mapped from files."""
    size, resident, shared = STATM.read_bytes().split()[:3]
    page = os.sysconf("SC_PAGE_SIZE")
    return int(size) * page, int(resident) * page, int(shared) * page


def _available() -> int:
    """Bytes that the system can still give."""
    for line in MEMINFO.read_bytes().splitlines():
        if line.startswith(b"MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("the system does not say what is available")


def _below_limit(size: int) -> float:
    """Bytes of address space that this process may still take."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if limit == resource.RLIM_INFINITY else max(0, limit - size)


def _in_group() -> float:
    """Bytes that the control group (a container, a job) may still take; infinity if it has no limit."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else int(limit) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")
