"""Judging one checkpoint without trusting it, level by level.

=====  ==============================================================================================
L0     there is a manifest, and the files that it names exist at their sizes
L1     the sha256 of every file, and of the manifest itself, match
L2     the files load, and hold the tensors that the manifest lists
L3     they make sense: the model's names, types and shapes, every float finite, optimizer state for
       every trained parameter, one step number and one run id everywhere
=====  ==============================================================================================

Nothing here raises because of bad content, executes what it reads, leaves the folder, or reads without a
bound. Run and kind are compared right after the manifest: of a foreign checkpoint the rest does not matter.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from terrarium.run import disk
from terrarium.run.flaw import UNREADABLE, Flaw, unread
from terrarium.run.folder import parse_checkpoint_name
from terrarium.run.manifest import MANIFEST, MODEL, STATE, Entry, Manifest, read_manifest
from terrarium.run.sense import check_contents, compare
from terrarium.run.tensors import Tensors, examine

TOP_LEVEL = 3
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Judgement:
    """The verdict on one checkpoint.

    Attributes:
        path: the checkpoint, or where one should be.
        step: the step in its manifest, else in its name, else None.
        level: the highest level passed, 0 to 3, or -1 if not even L0 was.
        whole: whether every level asked for was passed.
        reason: what is wrong, in words; empty if nothing is.
        flaw: its code: "damaged", "incomplete" (a file or a part of the training state is missing), "empty",
            "not-finite", "wrong-step", "foreign", "unreadable" (we may not read it: nothing can be told);
            empty where nothing is wrong.
        kind: the stage in its manifest, None if unknown.
        run_id: the run in its manifest, None if unknown.
        foreign: it belongs to another run than the one asked for.
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


def judge(
    path: Path, *, level: int = TOP_LEVEL, run_id: str | None = None, kind: str | None = None
) -> Judgement:
    """Judge one checkpoint folder up to a level. Never raises, whatever it holds.

    Args:
        path: the folder, such as `checkpoints/dynamics_step_50000`.
        level: 0 to 3; each includes those below.
        run_id: the run that it must belong to; any if None.
        kind: the stage that it must belong to; any if None.
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


def _open_manifest(folder: Path) -> Manifest:
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise Flaw("is not a folder", "incomplete")
    except (FileNotFoundError, NotADirectoryError):
        raise Flaw("does not exist", "incomplete") from None
    except UNREADABLE as error:
        raise unread("the folder", error) from error
    try:
        return read_manifest(folder)
    except FileNotFoundError:
        words = f"has no {MANIFEST}: it was never completed, or another program wrote it"
        raise Flaw(words, "incomplete") from None
    except UNREADABLE as error:
        raise unread(MANIFEST, error) from error


def _check_owner(manifest: Manifest, run_id: str | None, kind: str | None) -> None:
    if run_id is not None and manifest.run_id != run_id:
        raise Flaw(f"belongs to the run {disk.shown(manifest.run_id)}, not to {run_id!r}", "foreign")
    if kind is not None and manifest.kind != kind:
        raise Flaw(f"is a checkpoint of {manifest.kind}, not of {kind}", "foreign")


def _climb(folder: Path, named: tuple[str, int] | None, manifest: Manifest) -> Iterator[int]:
    """Yield every level that is passed; raise Flaw at the first that is not."""
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
    except UNREADABLE as error:
        raise unread(path.name, error) from error
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
            for _ in range(0, entry.size, _CHUNK_BYTES):  # and no further, in case it grows meanwhile
                digest.update(file.read(_CHUNK_BYTES))
    except UNREADABLE as error:
        raise unread(path.name, error) from error
    if digest.hexdigest() != entry.sha256:
        raise Flaw(f"{path.name} does not match its sha256: it was changed after saving")


def _load_state(folder: Path, manifest: Manifest) -> dict[str, object]:
    try:
        state = disk.parse_json(disk.read_bounded(folder / STATE, manifest.files[STATE].size))
    except UNREADABLE as error:
        raise unread(STATE, error) from error
    if not isinstance(state, dict):
        raise Flaw(f"{STATE} is not a JSON object")
    return state


def _load_tensors(folder: Path, manifest: Manifest, name: str) -> Tensors:
    try:
        tensors = examine(disk.read_bounded(folder / name, manifest.files[name].size))
    except UNREADABLE as error:
        raise unread(name, error) from error
    compare(tensors.table, manifest.tensors.get(name, {}), f"{name} against {MANIFEST}")
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
