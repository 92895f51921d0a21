"""Spoiled files of every format: reading them never raises, hangs, grows without end, or runs anything."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from spoiling import nothing_is_run, spoiled

from patients import checkpoints, logs
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.readers.config_files import read_config
from terrarium.doctor.readers.gather import gather
from terrarium.doctor.readers.histories import read
from terrarium.doctor.readers.pictures import examine_pictures

EXAMPLES = int(os.environ.get("TERRARIUM_FUZZ", "15"))
MOST_SECONDS = 20.0
"""Of one example, on a busy machine; a quiet one takes some milliseconds."""

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


def examined(path: Path, content: bytes, look: Callable[[Path], object], what: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    begun = time.monotonic()
    with nothing_is_run():
        look(what)
    assert time.monotonic() - begun < MOST_SECONDS


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
            examined(Path(folder) / name, text, _config_or_refusal, Path(folder) / name)


def _config_or_refusal(path: Path) -> None:
    with suppress(ValueError):
        read_config(path)


def zip_bomb() -> bytes:
    """A torch file whose members unpack to a gigabyte, as a deflated zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**24))
        archive.writestr("a/data/0", bytes(2**26))
    return file.getvalue()


def claiming_zip() -> bytes:
    """A torch file whose directory claims more bytes than there are."""
    content = bytearray(checkpoint_bytes("zip"))
    at = content.find(b"PK\x01\x02")
    content[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    return bytes(content)


def huge_safetensors() -> bytes:
    """A table that claims to have 2^62 bytes, and one whose tensors have."""
    return (2**62).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'


def deep_pickle() -> bytes:
    """Lists in lists, 200,000 deep."""
    return b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."


def wide_pickle() -> bytes:
    """A tuple of two of the same, again and again: 2^60 values where it is copied."""
    return b"\x80\x02)" + b"\x94h\x00\x86" * 60 + b"."


@pytest.mark.parametrize("bomb", [zip_bomb, claiming_zip, huge_safetensors, deep_pickle, wide_pickle])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bombs_among_checkpoints(bomb: Callable[[], bytes], suffix: str, tmp_path: Path) -> None:
    examined(tmp_path / "checkpoints" / f"a_step_5{suffix}", bomb(), examine_checkpoints, tmp_path)
    found, _ = examine_checkpoints(tmp_path)
    assert [one.whole for one in found] == [False]


def deep_json() -> bytes:
    return b'[{"loss": 1, "step": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}]"


def deep_objects() -> bytes:
    return b'{"loss":' * 100_000 + b"1" + b"}" * 100_000


def long_line() -> bytes:
    return b"step,loss\n" + b"1," * 10_000_000


def many_columns() -> bytes:
    names = ",".join(f"loss_{n}" for n in range(100_000))
    return f"step,loss,{names}\n".encode() + (b"1," * 100_002 + b"\n") * 20


def huge_numbers() -> bytes:
    return b"[" + b",".join(b'{"step": %d, "loss": 1%s}' % (n, b"0" * 4000) for n in range(200)) + b"]"


HISTORY_BOMBS = [deep_json, deep_objects, long_line, many_columns, huge_numbers]


@pytest.mark.parametrize("bomb", HISTORY_BOMBS)
@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl"])
def test_bombs_among_histories(bomb: Callable[[], bytes], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"history{suffix}"
    examined(path, bomb(), read, path)


def test_a_compressed_history_is_unpacked_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terrarium.doctor.readers.text_lines.MOST_CHARACTERS", 60_000)
    path = tmp_path / "history.csv"
    rows = "".join(f"{step},1.0\n" for step in range(50_000))
    examined(path, gzip.compress(f"step,loss\n{rows}".encode()), read, path)
    history = read(path)[""].history
    assert history is not None
    assert 5_000 < history.rows < 10_000
    assert history.damaged


def test_bombs_among_configurations(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    for content in ("\n".join(laughs), "[" * 50_000, "{a: " * 50_000, "!!python/object/apply:os.system [ls]"):
        examined(tmp_path / "config.yaml", content.encode(), _config_or_refusal, tmp_path / "config.yaml")


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that claims this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000, (b"IDAT", zlib.compress(bytes(2**24)))),
        png(2**31 - 1, 2**31 - 1),
        png(64, 64, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))), (b"IDAT", zlib.compress(bytes(99)))),
        png(0, 0),
    ],
)
def test_bombs_among_pictures(content: bytes, tmp_path: Path) -> None:
    examined(tmp_path / "visualizations" / "a_step_5.png", content, examine_pictures, tmp_path)


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
