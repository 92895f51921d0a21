"""The probe: the loss of a fixed batch, stored with every checkpoint so that L4 can compare it later."""

from __future__ import annotations

import torch
from torch import nn

from terrarium.config import Config
from terrarium.errors import TrainingError
from terrarium.train.precision import autocast
from terrarium.train.stages import Stage
from terrarium.train.state import seed_step

PROBE_BATCH = 0


def refuse_training_mode(model: nn.Module, stage: str) -> None:
    """Refuse a model that was left in training mode, where dropout and running statistics act differently.

    Raises:
        TrainingError: some of its modules are in training mode; the message names them.
    """
    left = [name or "all of it" for name, module in model.named_modules() if module.training]
    if left:
        raise TrainingError(
            f"{stage}: the averaged model was left in training mode ({', '.join(left[:3])}): what it draws "
            "and scores is not what play will see",
            "Look for a call of train() in what draws or evaluates, and resume",
        )


@torch.no_grad()
def probe_loss(model: nn.Module, stage: Stage, config: Config) -> float:
    """The loss of a fixed batch under fixed random draws, in the unit of the stage's loss.

    Args:
        model: in evaluation mode, as the averaged model is.
        stage: its first batch is the probe.
        config: the run's configuration.

    Raises:
        TrainingError: a part of it is in training mode.
    """
    refuse_training_mode(model, stage.name)
    seed_step(config.seed, f"{stage.name}/probe", PROBE_BATCH)
    inputs = stage.to_inputs(stage.batches.batch(PROBE_BATCH))
    with autocast(inputs[0].device, config):
        return float(model(*inputs).loss)
