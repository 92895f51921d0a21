"""Pictures: the right pair is chosen, and no file does harm."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from doctor_samples import write_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from terrarium.doctor.evidence import Picture
from terrarium.doctor.pictures import show
from terrarium.doctor.readers.pictures import examine_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dynamics" / "visualizations"


def to_show(stage_path: Path) -> tuple[Picture, ...]:
    return tuple(picture for picture in examine_pictures(stage_path)[0] if picture.when)


def test_earliest_and_latest_of_each_subject(folder: Path) -> None:
    for step in (9, 10, 200):
        write_picture(folder, "prediction", step, ["truth", "model"])
    write_picture(folder, "rollout", 5, ["truth", "model"])
    found = [(picture.what, picture.step, picture.when) for picture in to_show(folder.parent)]
    assert found == [("prediction", 9, "early"), ("prediction", 200, "late"), ("rollout", 5, "only")]


def test_a_shown_picture_is_cut_to_its_first_rows(folder: Path) -> None:
    write_picture(folder, "prediction", 0, ["truth", "model"] * 5)
    (picture,) = to_show(folder.parent)
    shown = show(picture)
    assert shown.row_labels == ("truth", "model") * 3
    image = decoded(shown.uri)
    assert image.height == 6 * 50


def test_large_pictures_are_made_smaller(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (4000, 100)).save(folder / "prediction_step_1.png")
    (picture,) = to_show(folder.parent)
    assert decoded(show(picture).uri).width <= 1280


def test_what_else_a_file_holds_is_left_behind(folder: Path) -> None:
    folder.mkdir(parents=True)
    note = PngImagePlugin.PngInfo()
    note.add_text("secret", "<script>alert(1)</script>")
    Image.new("RGB", (20, 20)).save(folder / "prediction_step_1.png", pnginfo=note)
    (picture,) = to_show(folder.parent)
    assert b"script" not in base64.b64decode(show(picture).uri.partition(",")[2])


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(tmp_path / "private.png")
    (folder / "prediction_step_1.png").symlink_to(tmp_path / "private.png")
    assert to_show(folder.parent) == ()


def test_a_decompression_bomb_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "prediction_step_1.png").write_bytes(png_that_claims(50_000, 50_000))
    (folder / "prediction_step_2.png").write_bytes(png_that_claims(10_000, 10_000))
    found = to_show(folder.parent)
    assert len(found) == 2
    for picture in found:
        shown = show(picture)
        assert shown.uri == ""
        assert picture.path.name in shown.reason


@pytest.mark.parametrize(
    "sidecar", ["", "[]", '{"rows": -1}', '{"rows": 3, "row_labels": 7}', '{"rows": 999}']
)
def test_a_broken_sidecar_costs_only_the_labels(folder: Path, sidecar: str) -> None:
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(folder / "prediction_step_1.png")
    (folder / "prediction_step_1.json").write_text(sidecar)
    (picture,) = to_show(folder.parent)
    shown = show(picture)
    assert shown.uri
    assert shown.row_labels == ()


def damaged(content: bytes, at: int, value: int) -> bytes:
    at %= len(content)
    return content[:at] + bytes([value]) + content[at + 1 :]


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_pictures_never_raise(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, cut: int
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((24, 24), 40).convert("RGB").save(buffer, format="PNG")
    path = tmp_path_factory.mktemp("png") / "prediction_step_1.png"
    path.write_bytes(damaged(buffer.getvalue(), at, value)[: max(1, cut)])
    shown = show(Picture("dynamics", "prediction", 1, path, "only"))
    assert bool(shown.uri) != bool(shown.reason)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that unpack to a picture of any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
