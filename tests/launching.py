"""Several processes under torchrun."""

from __future__ import annotations

import os
import subprocess
import sys


def start_together(count: int, *words: str) -> None:
    """Run a script in so many processes, to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
