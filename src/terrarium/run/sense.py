"""Whether a checkpoint's content makes sense (level L3), before it is written and after it was read.

The model's names, types and shapes, every float finite, and optimizer state for every trained parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from terrarium.run import disk
from terrarium.run.flaw import Flaw
from terrarium.run.manifest import EMA, MODEL, OPTIMIZER, STATE
from terrarium.run.shards import join_tables
from terrarium.run.tensors import Table, Tensors, parse_table

OPTIMIZER_SLOTS = ("exp_avg", "exp_avg_sq", "step")


def check_contents(tensors: Mapping[str, Tensors], state: Mapping[str, object]) -> None:
    """The part of L3 that concerns tensors and `state.json`.

    Args:
        tensors: what `examine` found, by file name.
        state: holds `parameters`, the names, types and shapes of the live model, and `trained`, the names
            of those that the optimizer moves.

    Raises:
        Flaw: something is empty, not finite, missing, or of another shape.
    """
    try:
        tensors = join_tables(tensors)
    except ValueError as error:
        raise Flaw(f"the shards {error}") from error
    for name, found in tensors.items():
        if found.non_finite:
            raise Flaw(f"{name} holds values that are not finite, in {_some(found.non_finite)}", "not-finite")
    if MODEL not in tensors or not tensors[MODEL].elements:
        raise Flaw(f"{MODEL} is empty: it holds no tensors, 0 keys", "empty")
    try:
        parameters = parse_table(state.get("parameters"))
    except ValueError as error:
        raise Flaw(f"the key 'parameters' of {STATE} {error}") from error
    compare(tensors[MODEL].table, parameters, f"{MODEL} against the parameters in {STATE}")
    if EMA in tensors:
        compare(_shapes(tensors[EMA].table), _shapes(parameters), f"{EMA} against the model")
    optimizer = tensors[OPTIMIZER].table if OPTIMIZER in tensors else {}
    _check_optimizer(optimizer, parameters, state.get("trained"))


def _check_optimizer(optimizer: Table, parameters: Table, trained: object) -> None:
    if not isinstance(trained, list | tuple) or not all(isinstance(name, str) for name in trained):
        raise Flaw(f"the key 'trained' of {STATE} is no list of parameter names")
    if unknown := set(trained) - set(parameters):
        raise Flaw(f"{STATE} calls trained what the model has not: {_some(unknown)}")
    needed = {f"{name}/{slot}": (name, slot) for name in trained for slot in OPTIMIZER_SLOTS}
    if missing := set(needed) - set(optimizer):
        raise Flaw(f"{OPTIMIZER} has no state for {_some(missing)}", "incomplete")
    if strays := [key for key in optimizer if key.rpartition("/")[0] not in parameters]:
        raise Flaw(f"{OPTIMIZER} holds state of what the model has not: {_some(strays)}")
    for key, (name, slot) in needed.items():
        shape = optimizer[key][1]
        if shape not in (((), (1,)) if slot == "step" else (parameters[name][1],)):
            raise Flaw(f"{OPTIMIZER} holds {disk.shown(key)} of shape {list(shape)}")


def compare(found: Mapping[str, object], expected: Mapping[str, object], what: str) -> None:
    """Refuse a table that is not the expected one.

    Raises:
        Flaw: names are missing or superfluous, or a value differs.
    """
    for verb, names in (("lacks", set(expected) - set(found)), ("has too many", set(found) - set(expected))):
        if names:
            raise Flaw(f"{what}: {verb} {_some(names)}")
    if differing := [name for name in expected if found[name] != expected[name]]:
        name = sorted(differing)[0]
        raise Flaw(
            f"{what}: {_some(differing)} differs; "
            f"{disk.shown(name)} is {disk.shown(found[name])}, not {disk.shown(expected[name])}"
        )


def _shapes(table: Table) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (_, shape) in table.items()}


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ", ".join(disk.shown(name) for name in ordered[:5]) + more
