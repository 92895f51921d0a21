"""`manifest.json`: what a checkpoint holds. It is written last, and makes the checkpoint complete."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from terrarium.run import disk
from terrarium.run.folder import STAGES
from terrarium.run.tensors import MAX_TENSOR_FILE_BYTES, Table, parse_table

FORMAT = 1
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
EMA = "ema.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
SHARD = r"shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors"  # as PyTorch names them

# Plain names can't lead out of the folder, and without other formats nothing is ever unpickled.
_FILE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,99}}\.safetensors|{re.escape(STATE)}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """Size in bytes and sha256 (hexadecimal) of a file."""

    size: int
    sha256: str

    @staticmethod
    def of(content: bytes) -> Entry:
        """The entry of these bytes."""
        return Entry(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The content of a `manifest.json`.

    Attributes:
        kind: the stage, one of `STAGES`.
        step: the training step.
        run_id: the run that wrote it.
        files: every file of the checkpoint except the manifest.
        tensors: for each safetensors file, the type and shape of every tensor.
        sound: whether the manifest matches the sha256 of itself that it carries.
    """

    kind: str
    step: int
    run_id: str
    files: dict[str, Entry]
    tensors: dict[str, Table]
    sound: bool


def check_file_name(name: str) -> str:
    """The name itself, if it is allowed.

    Raises:
        ValueError: it is neither the plain name of a .safetensors file nor state.json.
    """
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"names the file {disk.shown(name)}, which is not allowed")
    return name


def build_manifest(
    *, kind: str, step: int, run_id: str, files: Mapping[str, Entry], tensors: Mapping[str, Table]
) -> bytes:
    """The bytes of a `manifest.json` for these files."""
    content: dict[str, object] = {
        "format": FORMAT,
        "kind": kind,
        "step": step,
        "run_id": run_id,
        "created": disk.now(),
        "files": {name: asdict(entry) for name, entry in sorted(files.items())},
        "tensors": {name: dict(sorted(table.items())) for name, table in sorted(tensors.items())},
    }
    return disk.dump_json({**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a checkpoint, without looking at the files that it names.

    Raises:
        OSError: it is missing or unreadable.
        ValueError: it is not a manifest of this format, or names a file outside of its folder.
    """
    return parse_manifest(disk.read_bounded(folder / MANIFEST, disk.MAX_JSON_BYTES))


def parse_manifest(content: bytes) -> Manifest:
    """Parse and check the bytes of a manifest.

    Raises:
        ValueError: they are not a manifest of this format, or name a file outside of its folder.
    """
    value = disk.parse_json(content)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"is no manifest of format {FORMAT}")
    kind, step, run_id = value.get("kind"), value.get("step"), value.get("run_id")
    if kind not in STAGES or not isinstance(run_id, str):
        raise ValueError(f"names no stage and run, but {disk.shown(kind)} and {disk.shown(run_id)}")
    if type(step) is not int or step < 0:
        raise ValueError(f"has {disk.shown(step)} for its step")
    files = _parse_files(value.get("files"))
    tensors = value.get("tensors")
    if not isinstance(tensors, dict):
        raise ValueError("has no table of tensors")
    tables = {check_file_name(name): parse_table(table) for name, table in tensors.items()}
    return Manifest(kind, step, run_id, files, tables, sound=value.pop("sha256", None) == _digest(value))


def _parse_files(value: object) -> dict[str, Entry]:
    if not isinstance(value, dict):
        raise ValueError("names no files")
    if STATE not in value:
        raise ValueError(f"names no {STATE}")
    if not any(name == MODEL or re.fullmatch(SHARD, str(name)) for name in value):
        raise ValueError(f"names no {MODEL}")
    return {check_file_name(name): _parse_entry(name, entry) for name, entry in value.items()}


def _parse_entry(name: str, entry: object) -> Entry:
    limit = MAX_TENSOR_FILE_BYTES if name.endswith(".safetensors") else disk.MAX_JSON_BYTES
    match entry:
        case {"size": int(size), "sha256": str(sha256)} if 0 <= size <= limit and _SHA256.fullmatch(sha256):
            return Entry(size, sha256)
    raise ValueError(f"has no size up to {limit} and sha256 for {disk.shown(name)}")


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(disk.dump_json(content)).hexdigest()


def sha256_of_manifest(checkpoint: Path) -> str:
    """One hash for a whole checkpoint: that of its manifest, which holds the hashes of all its files."""
    return hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest()
