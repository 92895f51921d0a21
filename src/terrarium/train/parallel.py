"""A model spread over processes: whole in each (DDP), or in shards (FSDP2); PyTorch's own ways."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from terrarium.models.blocks import ConditionedConv, ConvBlock, SpaceBlock, TimeAttention
from terrarium.train.distributed import Ranks

SHARDED_BLOCKS = (ConditionedConv, ConvBlock, SpaceBlock, TimeAttention)  # each gathered while it computes


def sharded(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters are in shards, one in each process (FSDP2, ZeRO stage 3)."""
    model = copy.deepcopy(model)
    mesh = mesh_of(model)
    for block in model.modules():
        if isinstance(block, SHARDED_BLOCKS):
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def mesh_of(model: nn.Module) -> DeviceMesh:
    """All processes in a row, on the kind of device that the model is on."""
    return init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))


def replicated(model: nn.Module) -> nn.Module:
    """What calls a model that is whole in every process, and averages its gradients over them."""
    # kernels of one channel have strides that mean nothing, and are told of once per process
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.13 has another name for the switch
        # buffers are the same everywhere by themselves; to send them would hide who is late
        return DistributedDataParallel(model, broadcast_buffers=False)


def begins_together(runner: nn.Module) -> bool:
    """Whether its forward pass begins with what the other processes have: shards are gathered."""
    return isinstance(runner, FSDPModule)


@contextmanager
def averaging(runner: nn.Module, wanted: bool) -> Iterator[None]:
    """Whether the backward passes within average gradients over processes, or only add up our own."""
    if isinstance(runner, FSDPModule):
        runner.set_requires_gradient_sync(wanted)
        yield
    elif isinstance(runner, DistributedDataParallel) and not wanted:
        with runner.no_sync():
            yield
    else:
        yield


def here(tensor: Tensor) -> Tensor:
    """Our shard of a tensor that is in shards; another as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is in shards, gathered in every process; another as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Whole copies on the CPU in the first process, none in the others; all must call it together."""
    copies = {}
    for name, tensor in tensors.items():
        full = whole(tensor)  # one at a time: there may be room for one
        if ranks.is_first:
            copies[name] = torch.empty(full.shape, dtype=full.dtype).copy_(full)
    return copies


def save_shards(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Write our part of a state as safetensors into a folder, by PyTorch's distributed checkpoint.

    All must call it together. Of tensors that are whole in every process, one process writes each.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    save_distributed(dict(tensors), storage_writer=writer, process_group=ranks.patient)


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Our shard of a tensor that every process has, if `like` is in shards."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model a state that every process has.

    Raises:
        RuntimeError: a tensor is missing, superfluous or of another shape.
    """
    own = model.state_dict()
    model.load_state_dict(
        {name: shard_like(tensor, own.get(name, tensor)) for name, tensor in tensors.items()}
    )
