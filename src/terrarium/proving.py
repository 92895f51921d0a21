"""Checkpoints proven by using them: levels L4 and L5 of `terrarium verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from terrarium.evaluate import open_footage
from terrarium.models.build import run_config
from terrarium.models.device import choose_device
from terrarium.pipeline import build_stage
from terrarium.run.folder import RunFolder
from terrarium.run.survey import newest_valid
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.proof import Proof, prove_probe, prove_replay

if TYPE_CHECKING:
    from terrarium.progress import ConsoleProgress


def prove(path: Path, level: int, progress: ConsoleProgress, ranks: Ranks = ALONE) -> list[Proof]:
    """Use the newest checkpoints of a run: L4, and L5 if asked for.

    Args:
        path: a run, a stage of one (its newest whole checkpoint is used), or a checkpoint in one.
        level: 4 or 5.
        progress: shows it if footage has to be tokenized again.
        ranks: the processes that prove together; the first one's proofs count.

    Returns:
        Empty where the path stands in no run, or there is no whole checkpoint.

    Raises:
        TerrariumError: the footage is gone, or a stage can't be built.
    """
    path = path.resolve()
    home = next((each for each in (path, *path.parents[:3]) if (each / "run.json").exists()), None)
    if home is None:
        return []
    run = RunFolder.open(home)
    dataset, config = open_footage(run), run_config(run)
    device, proofs = ranks.device(choose_device(config.device)), list[Proof]()
    torch.set_flush_denormal(True)  # as in training, or the arithmetic would differ
    for folder in run.stages():
        is_here = path in (run.path, folder.path) or folder.path in path.parents
        checkpoint = path if folder.checkpoints_path == path.parent else newest_valid(folder)[0]
        if not is_here or checkpoint is None:
            continue
        stage, _ = build_stage(run, folder.name, config, dataset, device, progress, ranks)
        proofs.append(prove_probe(stage, folder, config, checkpoint))
        if level >= 5:
            unproven = Proof(checkpoint, 5, None, "there is no checkpoint before it to train on from")
            proofs.append(prove_replay(stage, folder, config, ranks) or unproven)
    return proofs
