"""A model spread over processes by PyTorch: whole in each (DDP), or in shards (FSDP2)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from terrarium.errors import CheckpointError
from terrarium.models.blocks import ConditionedConv, ConvBlock, SpaceBlock, TimeAttention
from terrarium.train.distributed import Ranks

SHARDED_BLOCKS = (ConditionedConv, ConvBlock, SpaceBlock, TimeAttention)  # each gathered while it computes


def sharded(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters are in shards, one in each process (FSDP2, ZeRO stage 3)."""
    # attention over time gives a view of its keys and values, and nothing writes into it
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    model = copy.deepcopy(model)
    mesh = mesh_of(model)
    for block in model.modules():
        if isinstance(block, SHARDED_BLOCKS):
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def mesh_of(model: nn.Module) -> DeviceMesh:
    """All processes in one dimension, on the kind of device that the model is on."""
    return init_device_mesh(next(model.parameters()).device.type, (dist.get_world_size(),))


def replicated(model: nn.Module) -> nn.Module:
    """A wrapper that calls a model that every process has whole, and averages its gradients over them."""
    # strides of one-channel kernels mean nothing, but PyTorch warns of them once per process
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.13 renamed the switch
        # buffers are equal everywhere without it, and sending them would hide which process is late
        return DistributedDataParallel(model, broadcast_buffers=False)


def begins_together(runner: nn.Module) -> bool:
    """Whether the forward pass begins by gathering shards from the other processes."""
    return isinstance(runner, FSDPModule)


@contextmanager
def averaging(runner: nn.Module, wanted: bool) -> Iterator[None]:
    """While open, backward passes average gradients over processes if `wanted`, else only add up ours."""
    if isinstance(runner, FSDPModule):
        runner.set_requires_gradient_sync(wanted)
        yield
    elif isinstance(runner, DistributedDataParallel) and not wanted:
        with runner.no_sync():
            yield
    else:
        yield


def here(tensor: Tensor) -> Tensor:
    """Our shard of a sharded tensor; any other tensor unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered in every process; any other tensor unchanged."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Whole copies on the CPU in the first process, none in the others; all must call it together."""
    copies = {}
    for name, tensor in tensors.items():
        full = whole(tensor)  # one at a time: there may be room for one only
        if ranks.is_first:
            copies[name] = torch.empty(full.shape, dtype=full.dtype).copy_(full)
    return copies


def save_shards(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Write our part of a state into a folder as safetensors, with PyTorch's distributed checkpoint.

    All processes must call it together. A tensor that every process has whole is written by one of them.

    Raises:
        CheckpointError: one of them can't write; the same error in all.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save_distributed(dict(tensors), storage_writer=writer, process_group=ranks.patient)
    except CheckpointException as failed:
        rank, (error, _) = min(failed.failures.items())
        refusal = CheckpointError(
            f"process {rank} can't write its part of a checkpoint to {folder}: {error}",
            "Earlier checkpoints are untouched; mend the disk or free some space, then resume",
        )
        refusal.told = not ranks.is_first
        raise refusal from None


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Our shard of a tensor that every process has, if `like` is sharded; else the tensor."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state that every process has whole into a model, sharded or not.

    Raises:
        RuntimeError: a tensor is missing, superfluous or of another shape.
    """
    own = model.state_dict()
    model.load_state_dict(
        {name: shard_like(tensor, own.get(name, tensor)) for name, tensor in tensors.items()}
    )
