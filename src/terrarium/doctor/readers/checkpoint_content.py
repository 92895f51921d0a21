"""A stranger's checkpoint judged by what is in it; nothing in it is run.

The levels are those of our own checkpoints as far as a format without a manifest allows:

=====  ==========================================================================================
L0     every file is there and opens: directories, tables and pickles are whole, sizes fit
L1     its checksums match, where the format has such
L2     it holds tensors: weights, and an optimizer's state where there is a file for it
L3     they make sense: every number finite, not all zero, the step that its name says; and nothing
       in its pickles would run something on loading
=====  ==========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from terrarium.doctor.readers.checkpoint_units import Unit
from terrarium.doctor.readers.distributed import read_distributed
from terrarium.doctor.readers.file_window import open_window
from terrarium.doctor.readers.inert_objects import Opaque
from terrarium.doctor.readers.safetensors_file import read_safetensors
from terrarium.doctor.readers.tensor_bytes import SeenTensor
from terrarium.doctor.readers.torch_file import Contents, read_torch
from terrarium.run.flaw import Flaw

STEP_KEYS = ("step", "global_step", "iteration", "iter", "n_updates", "num_updates", "update", "train_step")
WEIGHT_KEYS = re.compile(
    r"(?:\w+_)?(?:model|module|state_dict|weights|net|network|ema|params|parameters)(?:_\w+)?"
)
OPTIMIZER_KEYS = re.compile(r"\w*optim\w*")
BESIDE = re.compile(
    r".*(?:callback|loop|metric|sched|best|rng|random|hist|log|config|param_groups|hparams|scaler).*"
)
"""Parts of a checkpoint in which a number may be infinite, or all be zero: records, not weights."""

SHARD = re.compile(r"(?:^|_)rank_?\d+")

LEVEL_OF = {"empty": 1, "not-finite": 2, "all-zero": 2, "wrong-step": 2, "hostile": 2}
"""Flaw -> the highest level that is passed nevertheless; -1 for all others."""


@dataclass(frozen=True)
class Reading:
    """What was found in a checkpoint.

    Attributes:
        flaw: its code; "" where nothing is wrong.
        detail: the file and the place.
        level: the highest level passed.
        step: in its content; None where it does not say.
    """

    flaw: str = ""
    detail: str = ""
    level: int = 0
    step: int | None = None


@dataclass(frozen=True)
class _Part:
    """One file, or one distributed checkpoint."""

    path: Path
    contents: Contents

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_optimizer(self) -> bool:
        return bool(OPTIMIZER_KEYS.fullmatch(self.path.stem))

    @property
    def is_weights(self) -> bool:
        words = self.path.stem.lower()
        return not self.is_optimizer and any(word in words for word in ("model", "weight", "ema", "net"))

    @property
    def is_shard(self) -> bool:
        """Whether it is one process's share; weights missing here may be in another's."""
        return bool(SHARD.search(self.path.stem))

    @property
    def state(self) -> list[SeenTensor]:
        """Its tensors without records such as the best score, which lie under names of their own."""
        flat = not _weight_keys(self.contents.value)
        return [
            tensor
            for tensor in self.contents.tensors
            if not any(map(_is_beside, (tensor.path[:-1] if flat else tensor.path)[:2]))
        ]

    @property
    def weights(self) -> list[SeenTensor]:
        """Its tensors that do not belong to an optimizer."""
        return [] if self.is_optimizer else [tensor for tensor in self.state if not _is_optimizers(tensor)]


def read_unit(unit: Unit, *, deep: bool, expected: frozenset[str] = frozenset()) -> Reading:
    """Judge a checkpoint.

    Args:
        unit: its files.
        deep: read every byte; else directories, tables and sizes only, which tell an empty one too.
        expected: names of files that others of its kind have.
    """
    parts: list[_Part] = []
    try:
        for path in (*unit.files, *unit.distributed):
            parts.append(_Part(path, _read(path, deep)))
        lacking = sorted(expected - unit.names) if unit.is_folder else []
        if lacking or not parts:
            raise Flaw(", ".join(lacking), "incomplete")
        _check_dangerous(parts)
        _check_tensors(parts)
        if deep:
            _check_numbers(parts)
    except Flaw as flaw:
        reached = 0 if "CRC" in str(flaw) else LEVEL_OF.get(flaw.code, -1)
        return Reading(flaw.code, str(flaw)[:300], reached, _step_in(parts))
    return Reading("", "", 3 if deep else 0, _step_in(parts))


def _read(path: Path, deep: bool) -> Contents:
    try:
        if path.is_dir():
            return read_distributed(path, deep=deep)
        with open_window(path) as window:
            return (
                read_safetensors(window, deep=deep)
                if path.suffix == ".safetensors"
                else read_torch(window, deep=deep)
            )
    except Flaw as flaw:
        raise Flaw(f"{path.name}: {flaw}".removesuffix(": "), flaw.code) from flaw


def _check_dangerous(parts: Sequence[_Part]) -> None:
    for part in parts:
        if part.contents.dangerous:
            raise Flaw(f"{part.name}: {', '.join(part.contents.dangerous[:3])}", "hostile")


def _check_tensors(parts: Sequence[_Part]) -> None:
    """Whether there are weights, and an optimizer state where there is a place for one."""
    for part in parts:
        tensors = part.contents.tensors
        if part.is_shard:
            continue
        expected = part.is_weights or (part.is_optimizer and not _has_groups(part.contents.value))
        if expected and not _elements(tensors):
            raise Flaw(part.name, "empty")
        for key in () if part.is_optimizer else _weight_keys(part.contents.value):
            if not _elements([tensor for tensor in tensors if tensor.path[:1] == (key,)]):
                raise Flaw(f"{part.name}: {key}", "empty")
    if not any(_elements(part.contents.tensors if part.is_shard else part.weights) for part in parts):
        raise Flaw(", ".join(part.name for part in parts[:3]), "empty")


def _weight_keys(value: object) -> list[str]:
    """The keys of a saved dict below which there must be weights."""
    entries = value.items() if isinstance(value, dict) else ()
    parts = [str(key)[:200] for key, inner in entries if isinstance(inner, dict | Opaque)]
    return [key for key in parts if WEIGHT_KEYS.fullmatch(key) and not _is_beside(key)]


def _elements(tensors: Sequence[SeenTensor]) -> int:
    return sum(tensor.elements for tensor in tensors)


def _has_groups(value: object) -> bool:
    """Whether an optimizer without moments at least has parameters, as plain SGD does."""
    groups = value.get("param_groups") if isinstance(value, dict) else None
    return isinstance(groups, list) and any(
        isinstance(group, dict) and group.get("params") for group in groups
    )


def _check_numbers(parts: Sequence[_Part]) -> None:
    for part in parts:
        for tensor in part.state:
            if tensor.non_finite:
                raise Flaw(f"{part.name}: {'.'.join(tensor.path)[:120]} ({tensor.non_finite})", "not-finite")
    weights = [tensor for part in parts for tensor in part.weights if tensor.is_float and tensor.elements]
    if weights and all(tensor.zero for tensor in weights):
        raise Flaw(", ".join(part.name for part in parts[:3]), "all-zero")


def _is_beside(key: str) -> bool:
    return bool(BESIDE.fullmatch(key[:200].lower()))


def _is_optimizers(tensor: SeenTensor) -> bool:
    return any(OPTIMIZER_KEYS.fullmatch(key[:200].lower()) for key in tensor.path[:1])


def _step_in(parts: Sequence[_Part]) -> int | None:
    for part in parts:
        value = part.contents.value
        if isinstance(value, dict) and not part.is_optimizer:
            for key in STEP_KEYS:
                step = value.get(key)
                if type(step) is int and 0 <= step < 10**15:
                    return step
    return None
