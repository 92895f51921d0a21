"""Parameters that training does not change: noted by name at every gate, for the doctor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from terrarium.doctor.detectors.movement import LEAST_STEPS
from terrarium.run.folder import StageFolder, write_json
from terrarium.train.stages import Stage

NAME = "parameters.json"


class Movement:
    """Notes which parameters of a stage do not move, and tells of them once.

    Args:
        stage: the stage in training.
        untrained: its model before the first step.
        folder: the stage's folder; gets `parameters.json` if there are any.
        say: prints a line that names them.
    """

    def __init__(
        self, stage: Stage, untrained: nn.Module, folder: StageFolder, say: Callable[[str], None]
    ) -> None:
        self._stage, self._untrained, self._folder, self._say = stage, untrained, folder, say
        self._told: list[str] = []

    def note(self, step: int) -> None:
        """Write them down at every gate; a line is printed once there were steps enough, and for others anew.

        Raises:
            RunError: they can't be written.
        """
        unmoved = note_unmoved(self._untrained, self._stage.model, self._folder, step)
        if step >= LEAST_STEPS and unmoved and unmoved != self._told:
            self._told = unmoved
            self._say(
                f"{self._stage.name}: {len(unmoved)} parameters are what they were before the first step: "
                f"{', '.join(unmoved[:5])}{', ...' if len(unmoved) > 5 else ''}"
            )


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
