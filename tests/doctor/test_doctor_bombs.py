"""Files made to exhaust whoever reads them: they are refused, or read up to a bound, within seconds."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from spoiling import config_or_refusal, examined

from patients import checkpoints
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.readers.histories import read
from terrarium.doctor.readers.pictures import examine_pictures


def zip_bomb() -> bytes:
    """A torch file whose members unpack to a gigabyte, as a deflated zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**24))
        archive.writestr("a/data/0", bytes(2**26))
    return file.getvalue()


def claiming_zip() -> bytes:
    """A torch file whose directory claims more bytes than there are."""
    file = io.BytesIO()
    torch.save({"model": checkpoints.weights()}, file)
    content = bytearray(file.getvalue())
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
        examined(tmp_path / "config.yaml", content.encode(), config_or_refusal, tmp_path / "config.yaml")


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
