from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_forgery import forge, write_manifest
from run_samples import commit, make_stage

from terrarium.run.disk import dump_json
from terrarium.run.folder import StageFolder
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge

FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
# One checkpoint serves all examples: each puts back what it changed.
SHARED = settings(
    derandomize=True,
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def stage(tmp_path: Path, quick_disk: None) -> StageFolder:
    return make_stage(tmp_path)


@pytest.fixture
def checkpoint(stage: StageFolder) -> Path:
    return commit(stage, 100)


def test_untouched_is_whole(stage: StageFolder, checkpoint: Path) -> None:
    found = judge(checkpoint, run_id=stage.run_id, kind="dynamics")
    assert (found.whole, found.level, found.step, found.reason) == (True, 3, 100, "")
    assert (found.kind, found.run_id, found.foreign, found.weights_whole) == (
        "dynamics",
        stage.run_id,
        False,
        False,
    )
    assert judge(checkpoint / ".." / checkpoint.name).whole
    assert [judge(checkpoint, level=level).level for level in range(4)] == [0, 1, 2, 3]


@SHARED
@given(st.data())
def test_every_flipped_bit_is_found_at_l1(checkpoint: Path, data: st.DataObject) -> None:
    path = checkpoint / data.draw(st.sampled_from(FILES))
    content = path.read_bytes()
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(flipped)
        found = judge(checkpoint, level=1)
        assert not found.whole
        assert found.level < 1
        if path.name != "manifest.json":  # a flip in there may strike what it says of any file
            assert path.name in found.reason
            assert found.weights_whole == (path.name != "model.safetensors")
    finally:
        path.write_bytes(content)
    assert judge(checkpoint).whole


@SHARED
@given(st.data())
def test_mutated_bytes_never_raise(checkpoint: Path, data: st.DataObject) -> None:
    """With the manifest made to agree, so that the bytes reach the parsers."""
    originals = {name: (checkpoint / name).read_bytes() for name in FILES}
    stem = data.draw(st.sampled_from(["model", "ema", "optimizer", "state", "manifest"]))
    name = f"{stem}.json" if stem in ("state", "manifest") else f"{stem}.safetensors"
    content = bytearray(originals[name])
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        (checkpoint / name).write_bytes(content)
        if stem != "manifest":
            manifest = json.loads(originals["manifest.json"])
            manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            write_manifest(checkpoint, manifest)
        found = judge(checkpoint)
        assert found.whole == (found.level == 3) == (found.reason == "")
        assert found.reason.isprintable()
    finally:
        for original, before in originals.items():
            (checkpoint / original).write_bytes(before)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@SHARED
@given(st.data())
def test_any_json_in_any_place_never_raises(checkpoint: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["manifest.json", "state.json"]))
    originals = {each: (checkpoint / each).read_bytes() for each in ("manifest.json", "state.json")}
    value = json.loads(originals[name])
    place = value
    while data.draw(st.booleans()) and isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key]:
            break
        place = place[key]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        if name == "manifest.json":
            write_manifest(checkpoint, value)
        else:
            forge(checkpoint, state=dump_json(value))
        found = judge(checkpoint, run_id="abcdefgh")
        assert not found.whole
    finally:
        for each, before in originals.items():
            (checkpoint / each).write_bytes(before)


DAMAGE: dict[str, Callable[[Path], object]] = {
    r"model\.safetensors has \d+ bytes": lambda path: os.truncate(path / "model.safetensors", 100),
    r"optimizer\.safetensors has 0 bytes": lambda path: os.truncate(path / "optimizer.safetensors", 0),
    r"optimizer\.safetensors is missing": lambda path: (path / "optimizer.safetensors").unlink(),
    r"state\.json is missing": lambda path: (path / "state.json").unlink(),
    r"has no manifest\.json": lambda path: (path / "manifest.json").unlink(),
    r"does not exist": shutil.rmtree,
    r"manifest\.json is not strict JSON": lambda path: os.truncate(path / "manifest.json", 0),
    r"nested too deeply": lambda path: (path / "manifest.json").write_bytes(b"[" * 100_000),
    r"not a regular file": lambda path: replace_by(path / "state.json", os.mkfifo),
    r"state\.json can't be read": lambda path: replace_by(
        path / "state.json", lambda p: p.symlink_to("/etc/hosts")
    ),
    r"model\.safetensors .*(read|regular)": lambda path: replace_by(path / "model.safetensors", Path.mkdir),
}


def link_away(path: Path) -> None:
    path.symlink_to("/etc/hosts")


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


@pytest.mark.parametrize("reason", DAMAGE)
def test_damage_is_named_at_l0(stage: StageFolder, checkpoint: Path, reason: str) -> None:
    older = commit(stage, 50)
    DAMAGE[reason](checkpoint)
    found = judge(checkpoint)
    assert (found.whole, found.level) == (False, -1)
    assert re.search(reason, found.reason), found.reason
    assert found.weights_whole == ("optimizer" in reason or "state" in reason or "regular file" in reason)
    assert newest_valid(stage)[0] == older


def test_a_hole_is_found_at_l1(checkpoint: Path) -> None:
    content = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(content[:-20] + bytes(20))
    found = judge(checkpoint)
    assert (found.level, found.reason[:30]) == (0, "model.safetensors does not mat")


@pytest.mark.parametrize(
    "name",
    [
        "../../../run.json",
        "/etc/hosts",
        "a/b.safetensors",
        "..",
        ".hidden.safetensors",
        "model.pt",
        "",
        "a\0b",
    ],
)
@pytest.mark.parametrize("table", ["files", "tensors"])
def test_names_that_lead_elsewhere_are_refused(checkpoint: Path, name: str, table: str) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest[table][name] = {"size": 5, "sha256": "0" * 64} if table == "files" else {}
    write_manifest(checkpoint, manifest)
    found = judge(checkpoint)
    assert (found.level, found.whole) == (-1, False)
    assert "not allowed" in found.reason


def test_sizes_beyond_reason_are_refused(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for size in (2**60, -1, 1.5, "9"):
        manifest["files"]["model.safetensors"]["size"] = size
        write_manifest(checkpoint, manifest)
        assert "model.safetensors" in judge(checkpoint).reason


def test_a_hostile_pickle_is_not_executed(stage: StageFolder, checkpoint: Path, tmp_path: Path) -> None:
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR."
    for name in ("model.safetensors", "state.json"):
        (checkpoint / name).write_bytes(evil)
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        manifest["files"][name] = {"size": len(evil), "sha256": hashlib.sha256(evil).hexdigest()}
        write_manifest(checkpoint, manifest)
        assert judge(checkpoint).level == 1
    assert not (tmp_path / "pwned").exists()
