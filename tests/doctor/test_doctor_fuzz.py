"""Spoiled files of every format: reading them never raises, hangs, grows without end, or runs anything."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tempfile
import time
import zipfile
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from spoiling import MOST_SECONDS, config_or_refusal, examined, nothing_is_run, spoiled

from patients import checkpoints, logs
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.readers.gather import gather
from terrarium.doctor.readers.histories import read
from terrarium.doctor.readers.pictures import examine_pictures

EXAMPLES = int(os.environ.get("TERRARIUM_FUZZ", "15"))

fuzzed = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 100, suppress_health_check=list(HealthCheck)
)


@cache
def history_bytes(found: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        name, write = logs.WRITERS[found]
        path = Path(folder) / name
        write(path, logs.rows_of(30))
        return path.read_bytes()


@cache
def checkpoint_bytes(kind: str) -> bytes:
    state = {"model": checkpoints.weights(), "optimizer": checkpoints.moments(), "step": 5}
    if kind == "safetensors":
        return save(checkpoints.weights())
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    return file.getvalue()


@cache
def picture_bytes() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((256, 128), 60).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("found", [name for name in logs.WRITERS if name != "trackio"])
@given(data=st.data())
@fuzzed
def test_spoiled_histories(found: str, data: st.DataObject) -> None:
    content = data.draw(spoiled(history_bytes(found)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / logs.WRITERS[found][0]
        examined(path, content, read, path)
        examined(path, content, lambda path: gather([path]), path)


@given(content=spoiled(history_bytes("trackio")))
@fuzzed
def test_spoiled_databases(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.db"
        path.write_bytes(content)
        begun = time.monotonic()
        read(path)
        assert time.monotonic() - begun < MOST_SECONDS
        assert [entry.name for entry in Path(folder).iterdir()] == ["world.db"]
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "name"),
    [("zip", "a_step_5.pt"), ("stream", "a_step_5.pt"), ("safetensors", "a_step_5.safetensors")],
)
@given(data=st.data())
@fuzzed
def test_spoiled_checkpoints(kind: str, name: str, data: st.DataObject) -> None:
    content = data.draw(spoiled(checkpoint_bytes(kind)))
    with tempfile.TemporaryDirectory() as folder:
        examined(Path(folder) / "checkpoints" / name, content, examine_checkpoints, Path(folder))


@given(content=spoiled(picture_bytes()))
@fuzzed
def test_spoiled_pictures(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "visualizations" / "dynamics_prediction_step_5.png"
        examined(path, content, examine_pictures, Path(folder))


@given(data=st.data())
@fuzzed
def test_spoiled_records_whose_checksums_hold(data: st.DataObject) -> None:
    """What is inside the frames reaches the parsers only where the checksums are right."""
    records = list(_records(history_bytes("tensorboard")))
    place = data.draw(st.integers(0, len(records) - 1))
    records[place] = data.draw(spoiled(records[place]))
    rows = [data.draw(spoiled(record)) for record in records[:3]]
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.out.tfevents.1.host"
        examined(events, logs.recorded(records), read, events)
        wandb = Path(folder) / "run-a.wandb"
        examined(wandb, b":W&B\xe1\xbe\x00" + logs.framed(rows, 7), read, wandb)


def _records(content: bytes) -> list[bytes]:
    found, at = list[bytes](), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        found.append(content[at + 12 : at + 12 + length])
        at += 12 + length + 4
    return found


@given(data=st.data())
@fuzzed
def test_spoiled_pickles_whose_checksums_hold(data: st.DataObject) -> None:
    with zipfile.ZipFile(io.BytesIO(checkpoint_bytes("zip"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    members[pickled] = data.draw(spoiled(members[pickled]))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints" / "model_step_5.pt"
        examined(path, file.getvalue(), examine_checkpoints, Path(folder))


@given(
    text=st.one_of(spoiled(b"learning_rate: 0.1\nn_updates: 500\nmodel:\n  codes: [8, 5, 5]\n"), st.binary())
)
@fuzzed
def test_spoiled_configurations(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("config.yaml", "config.json", "config.toml"):
            examined(Path(folder) / name, text, config_or_refusal, Path(folder) / name)


def test_what_fuzzing_watches_for_is_seen(tmp_path: Path) -> None:
    """The watch itself: what loading a hostile file does is noticed."""
    checkpoints.hostile_pickle(tmp_path / "a.pkl", tmp_path / "trace")
    content = (tmp_path / "a.pkl").read_bytes()
    with pytest.raises(AssertionError, match="find_class"), nothing_is_run():
        pickle.loads(content)  # noqa: S301 - to see that it is seen
    assert (tmp_path / "trace").exists()


def test_a_row_of_a_hostile_run_is_only_text(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    rows = [
        {"step": step, "loss": 1.0, "__reduce__": "os.system", "x": {"$ref": "/etc/passwd"}}
        for step in range(9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    examined(path, path.read_bytes(), read, path)
