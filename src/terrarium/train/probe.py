"""A fixed question to a model, whose answer is stored with every checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from terrarium.config import Config
from terrarium.train.precision import autocast
from terrarium.train.stages import Stage
from terrarium.train.state import seed_step

PROBE_BATCH = 0


@torch.no_grad()
def probe_loss(model: nn.Module, stage: Stage, config: Config) -> float:
    """The loss of a fixed batch under fixed random draws, in the unit of the stage's loss.

    Args:
        model: in evaluation mode, as the average is.
        stage: whose first batch is the probe.
        config: of the run.
    """
    seed_step(config.seed, f"{stage.name}/probe", PROBE_BATCH)
    inputs = stage.to_inputs(stage.batches.batch(PROBE_BATCH))
    with autocast(inputs[0].device, config):
        return float(model(*inputs).loss)
