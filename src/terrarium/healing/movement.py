"""Parameters that training does not change: noted by name at every gate, for the doctor."""

from __future__ import annotations

import torch
from torch import nn

from terrarium.run.folder import StageFolder, write_json

NAME = "parameters.json"


def note_unmoved(before: nn.Module, now: nn.Module, folder: StageFolder, step: int) -> list[str]:
    """Write down which parameters are still, bit for bit, what they were before the first step.

    Args:
        before: the model before its first step.
        now: the same model after some steps.
        folder: the stage's folder; gets `parameters.json` if there are any.
        step: steps taken so far.

    Returns:
        Their names; none if nothing moved at all: then the rate is at fault, or a sharded copy is trained.

    Raises:
        RunError: it can't be written.
    """
    were = dict(before.named_parameters())
    pairs = {
        name: (were[name], parameter)
        for name, parameter in now.named_parameters()
        if name in were and parameter.shape == were[name].shape
    }
    unmoved = {
        name: parameter.numel()
        for name, (was, parameter) in pairs.items()
        if torch.equal(parameter.detach(), was.detach().to(parameter.device))
    }
    if len(unmoved) == len(pairs):
        unmoved = {}
    if unmoved or (folder.path / NAME).exists():
        numbers = sum(parameter.numel() for _, parameter in pairs.values())
        noted = {"format": 1, "step": step, "unmoved": [*unmoved], "share": sum(unmoved.values()) / numbers}
        write_json(folder.path / NAME, noted)
    return [*unmoved]
