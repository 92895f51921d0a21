"""The device that tensors live on."""

from __future__ import annotations

import torch

from terrarium.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes the first that exists of CUDA, MPS and the CPU.

    Raises:
        UsageError: there is no such device.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in found.items() if there))
    if not found.get(name):
        there = ", ".join(device for device, is_there in found.items() if is_there)
        raise UsageError(f"the device {name!r} is not here", f"There are: {there}.")
    return torch.device(name)
