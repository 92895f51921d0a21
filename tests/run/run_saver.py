"""A trainer without training, for tests that kill it: `run_saver.py STAGE_PATH RUN_ID FIRST_STEP COUNT`.

It commits one checkpoint after another and says on stdout which ones count.
"""

from __future__ import annotations

import sys
from pathlib import Path

from run_samples import sample_files, sample_state

from terrarium.run.checkpoint import commit_checkpoint, recover
from terrarium.run.folder import StageFolder


def main() -> None:
    path, run_id, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    stage = StageFolder(path, path.name, run_id)
    recover(stage)
    print("ready", flush=True)
    for step in range(first, first + count):
        commit_checkpoint(stage, step, sample_files(step), state=sample_state(step), keep=2)
        print(step, flush=True)


if __name__ == "__main__":
    main()
