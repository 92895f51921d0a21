"""Checkpoints changed on purpose."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from terrarium.run.disk import dump_json


def forge(checkpoint: Path, **changes: bytes | None) -> None:
    """Change files and then make the manifest agree, as no accident would: what L3 alone can find."""
    manifest: dict[str, Any] = json.loads((checkpoint / "manifest.json").read_text())
    for stem, content in changes.items():
        name = "state.json" if stem == "state" else f"{stem}.safetensors"
        if content is None:
            (checkpoint / name).unlink()
            del manifest["files"][name], manifest["tensors"][name]
            continue
        (checkpoint / name).write_bytes(content)
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if stem != "state":
            manifest["tensors"][name] = table_of(content)
    write_manifest(checkpoint, manifest)


def table_of(content: bytes) -> dict[str, list[object]]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {name: [entry["dtype"], entry["shape"]] for name, entry in header.items()}


def write_manifest(checkpoint: Path, manifest: dict[str, Any]) -> None:
    manifest.pop("sha256", None)
    manifest["sha256"] = hashlib.sha256(dump_json(manifest)).hexdigest()
    (checkpoint / "manifest.json").write_bytes(dump_json(manifest))


def with_nan(arrays: dict[str, Any], name: str) -> bytes:
    poisoned = {key: array.copy() for key, array in arrays.items()}
    poisoned[name].reshape(-1)[:1] = np.nan
    return save(poisoned)


def without(arrays: dict[str, Any], name: str) -> bytes:
    return save({key: array for key, array in arrays.items() if key != name})


def state_bytes(checkpoint: Path, **changes: object) -> bytes:
    return dump_json({**json.loads((checkpoint / "state.json").read_text()), **changes})
