"""Judging one checkpoint without trusting it, level by level.

=====  ==============================================================================================
L0     there is a manifest, and the files that it names exist at their sizes
L1     the sha256 of every file, and of the manifest itself, match
L2     the files load, and hold the tensors that the manifest lists
L3     they make sense: the model's names, types and shapes, every float finite, optimizer state for
       every trained parameter, one step number and one run id everywhere
=====  ==============================================================================================

Nothing here raises for bad content, runs what it reads, leaves the folder, or reads without a bound. Run
and kind are looked at right after the manifest: in a stranger the rest does not matter.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from terrarium.run import disk
from terrarium.run.folder import parse_checkpoint_name
from terrarium.run.manifest import EMA, MANIFEST, MODEL, OPTIMIZER, STATE, Entry, Manifest, read_manifest
from terrarium.run.shards import join_tables
from terrarium.run.tensors import Table, Tensors, examine, parse_table

TOP_LEVEL = 3
OPTIMIZER_SLOTS = ("exp_avg", "exp_avg_sq", "step")
_CHUNK_BYTES = 2**20
_UNREADABLE = (OSError, ValueError, MemoryError, RecursionError)


@dataclass(frozen=True)
class Judgement:
    """What is to be said of one checkpoint.

    Attributes:
        path: the checkpoint, or where one should have been.
        step: the step in its manifest, else in its name, else None.
        level: the highest level passed, 0 to 3, or -1 where not even L0 was.
        whole: whether every level that was asked for was passed.
        reason: what is wrong, in words; empty where nothing is.
        flaw: its code: "damaged", "incomplete" (a file or a part of the training state is missing), "empty",
            "not-finite", "wrong-step", "foreign", "unreadable" (we may not read it: nothing can be told);
            empty where nothing is wrong.
        kind: the stage in its manifest, None where unknown.
        run_id: the run in its manifest, None where unknown.
        foreign: it belongs to another run than was asked for.
        weights_whole: it is not whole, but the model's weights alone match their sha256, load and are
            finite: the training state is lost, the network is not.
        fallback: it is not whole, and this is the newest checkpoint of the same stage that is; only
            `judge_path` fills it in.
    """

    path: Path
    step: int | None
    level: int
    whole: bool
    reason: str
    kind: str | None = None
    run_id: str | None = None
    foreign: bool = False
    weights_whole: bool = False
    fallback: Path | None = None
    flaw: str = ""


class Flaw(Exception):  # noqa: N818 - no error of this program: what it found out about a file
    """What is wrong with a checkpoint: in words, and as a code (see `Judgement.flaw`)."""

    def __init__(self, words: str, code: str = "damaged") -> None:
        super().__init__(words)
        self.code = code


def judge(
    path: Path, *, level: int = TOP_LEVEL, run_id: str | None = None, kind: str | None = None
) -> Judgement:
    """Judge one checkpoint folder up to a level. Never raises, whatever is in it.

    Args:
        path: the folder, such as `checkpoints/dynamics_step_50000`.
        level: 0 to 3; each includes those below.
        run_id: the run that it must belong to; any where None.
        kind: the stage that it must belong to; any where None.
    """
    folder = Path(os.path.realpath(path))
    named = parse_checkpoint_name(path.name) or parse_checkpoint_name(folder.name)
    try:
        manifest = _open_manifest(folder)
    except Flaw as flaw:
        return Judgement(path, named[1] if named else None, -1, False, str(flaw), flaw=flaw.code)
    foreign = run_id is not None and manifest.run_id != run_id
    ours = not foreign and kind in (None, manifest.kind)
    reached, reason, code = -1, "", ""
    try:
        _check_owner(manifest, run_id, kind)
        for reached in islice(_climb(folder, named, manifest), level + 1):  # noqa: B007 - read after the loop
            pass
    except Flaw as flaw:
        reason, code = str(flaw), flaw.code
    return Judgement(
        path,
        manifest.step,
        reached,
        not reason,
        reason,
        manifest.kind,
        manifest.run_id,
        foreign,
        weights_whole=bool(reason) and ours and level > 0 and _are_weights_whole(folder, manifest),
        flaw=code,
    )


def check_contents(tensors: Mapping[str, Tensors], state: Mapping[str, object]) -> None:
    """The part of L3 that concerns tensors and `state.json`, for a checkpoint on its way to the disk or back.

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
    _compare(tensors[MODEL].table, parameters, f"{MODEL} against the parameters in {STATE}")
    if EMA in tensors:
        _compare(_shapes(tensors[EMA].table), _shapes(parameters), f"{EMA} against the model")
    optimizer = tensors[OPTIMIZER].table if OPTIMIZER in tensors else {}
    _check_optimizer(optimizer, parameters, state.get("trained"))


def _open_manifest(folder: Path) -> Manifest:
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise Flaw("is not a folder", "incomplete")
    except (FileNotFoundError, NotADirectoryError):
        raise Flaw("does not exist", "incomplete") from None
    except _UNREADABLE as error:
        raise _unread("the folder", error) from error
    try:
        return read_manifest(folder)
    except FileNotFoundError:
        words = f"has no {MANIFEST}: it was never completed, or another program wrote it"
        raise Flaw(words, "incomplete") from None
    except _UNREADABLE as error:
        raise _unread(MANIFEST, error) from error


def _check_owner(manifest: Manifest, run_id: str | None, kind: str | None) -> None:
    if run_id is not None and manifest.run_id != run_id:
        raise Flaw(f"belongs to the run {disk.shown(manifest.run_id)}, not to {run_id!r}", "foreign")
    if kind is not None and manifest.kind != kind:
        raise Flaw(f"is a checkpoint of {manifest.kind}, not of {kind}", "foreign")


def _climb(folder: Path, named: tuple[str, int] | None, manifest: Manifest) -> Iterator[int]:
    """Yield every level that is passed, and raise Flaw at the first that is not."""
    for name, entry in manifest.files.items():
        _check_size(folder / name, entry)
    yield 0
    for name, entry in manifest.files.items():
        _check_hash(folder / name, entry)
    if not manifest.sound:
        raise Flaw(f"{MANIFEST} does not match its own sha256: it was changed after saving")
    yield 1
    state = _load_state(folder, manifest)
    tensors = {
        name: _load_tensors(folder, manifest, name)
        for name in manifest.files
        if name.endswith(".safetensors")
    }
    yield 2
    check_contents(tensors, state)
    _check_identity(named, manifest, state)
    yield 3


def _check_size(path: Path, entry: Entry) -> None:
    try:
        descriptor = disk.open_regular(path)
    except FileNotFoundError:
        raise Flaw(f"{path.name} is missing", "incomplete") from None
    except _UNREADABLE as error:
        raise _unread(path.name, error) from error
    try:
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size != entry.size:
        raise Flaw(f"{path.name} has {size} bytes, the manifest says {entry.size}")


def _check_hash(path: Path, entry: Entry) -> None:
    digest = hashlib.sha256()
    try:
        with os.fdopen(disk.open_regular(path), "rb") as file:
            for _ in range(0, entry.size, _CHUNK_BYTES):  # and no further, should it grow meanwhile
                digest.update(file.read(_CHUNK_BYTES))
    except _UNREADABLE as error:
        raise _unread(path.name, error) from error
    if digest.hexdigest() != entry.sha256:
        raise Flaw(f"{path.name} does not match its sha256: it was changed after saving")


def _load_state(folder: Path, manifest: Manifest) -> dict[str, object]:
    try:
        state = disk.parse_json(disk.read_bounded(folder / STATE, manifest.files[STATE].size))
    except _UNREADABLE as error:
        raise _unread(STATE, error) from error
    if not isinstance(state, dict):
        raise Flaw(f"{STATE} is not a JSON object")
    return state


def _load_tensors(folder: Path, manifest: Manifest, name: str) -> Tensors:
    try:
        tensors = examine(disk.read_bounded(folder / name, manifest.files[name].size))
    except _UNREADABLE as error:
        raise _unread(name, error) from error
    _compare(tensors.table, manifest.tensors.get(name, {}), f"{name} against {MANIFEST}")
    return tensors


def _are_weights_whole(folder: Path, manifest: Manifest) -> bool:
    if MODEL not in manifest.files:
        return False  # in shards
    try:
        _check_hash(folder / MODEL, manifest.files[MODEL])
        tensors = _load_tensors(folder, manifest, MODEL)
    except Flaw:
        return False
    return tensors.elements > 0 and not tensors.non_finite


def _check_identity(named: tuple[str, int] | None, manifest: Manifest, state: Mapping[str, object]) -> None:
    for key, said in (("step", manifest.step), ("run_id", manifest.run_id), ("kind", manifest.kind)):
        if state.get(key) != said:
            words = f"{STATE} says {key} {disk.shown(state.get(key))}, {MANIFEST} {disk.shown(said)}"
            raise Flaw(words, "wrong-step" if key == "step" else "foreign")
    if named not in (None, (manifest.kind, manifest.step)):  # a copy may have a name that says nothing
        name = "{}_step_{}".format(*named)
        words = f"the folder's name is {name!r}, {MANIFEST} says {manifest.kind} step {manifest.step}"
        raise Flaw(words, "wrong-step")


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


def _compare(found: Mapping[str, object], expected: Mapping[str, object], what: str) -> None:
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


def _unread(name: str, error: BaseException) -> Flaw:
    """What is wrong with a file that could not be read: nothing that we know of where we may not read it."""
    if isinstance(error, OSError):
        code = "unreadable" if isinstance(error, PermissionError) else "damaged"
        return Flaw(f"{name} can't be read: {disk.why(error)}", code)
    words = str(error) or f"can't be read: {type(error).__name__}"
    return Flaw(f"{name} {words}")
