from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import NoReturn

import pytest
from run_samples import make_run

from terrarium.errors import RunError
from terrarium.run.folder import (
    STAGES,
    RunFolder,
    new_run_path,
    parse_checkpoint_name,
    point_latest,
    read_json,
    write_json,
)


def test_created_run_can_be_opened(tmp_path: Path) -> None:
    run = make_run(tmp_path / "deep" / "run")
    again = RunFolder.open(run.path)
    assert again == run
    assert re.fullmatch(r"[a-z0-9]{8}", run.id)
    assert run.data == Path("footage/basic")
    assert {"format", "id", "created", "data", "preset"} <= set(run.facts)


def test_ids_differ(tmp_path: Path) -> None:
    assert len({make_run(tmp_path / str(number)).id for number in range(8)}) == 8


def test_facts_can_not_forge_the_id(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, facts={"id": "mine", "format": 9})
    assert run.id != "mine"
    assert run.facts["format"] == 1


def test_create_refuses_an_occupied_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"not empty.*thesis\.tex"):
        make_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_refuses_a_run(tmp_path: Path) -> None:
    first = make_run(tmp_path)
    with pytest.raises(RunError, match="holds a run already"):
        make_run(tmp_path)
    assert RunFolder.open(tmp_path).id == first.id


def test_create_goes_on_after_a_start_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("{}")
    (tmp_path / ".run.json.123.tmp").write_text("{")
    assert make_run(tmp_path).path == tmp_path.resolve()


def test_create_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't be made"):
        make_run(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "not a JSON object"),
        (b'{"format": NaN}', "NaN"),
        (b'{"format": 2, "id": "abcdefgh"}', "format 2"),
        (b'{"format": 1, "id": "../../.."}', "is not the id"),
        (b"\xff\xfe", "utf-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_open_names_what_is_damaged(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=complaint) as caught:
        RunFolder.open(tmp_path)
    assert "run.json" in caught.value.what


def test_open_says_what_to_do_where_no_run_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.json") as caught:
        RunFolder.open(tmp_path)
    assert "terrarium train" in caught.value.next_step
    with pytest.raises(RunError, match="does not exist"):
        RunFolder.open(tmp_path / "nowhere")


def test_data_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no dataset"):
        _ = RunFolder.create(tmp_path, facts={}).data


def test_stages_are_those_that_exist_in_order(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert run.stages() == []
    for name in ("dynamics", "video_tokenizer"):
        stage = run.stage(name).create()
        assert stage.checkpoints_path.is_dir()
        assert stage.visualizations_path.is_dir()
        assert stage.run_id == run.id
    assert [stage.name for stage in run.stages()] == ["video_tokenizer", "dynamics"]
    with pytest.raises(RunError, match="no stage"):
        run.stage("../dynamics")


def test_new_run_paths_are_unique_within_a_second(tmp_path: Path) -> None:
    paths = [new_run_path(tmp_path / "results") for _ in range(5)]
    assert len(set(paths)) == 5
    assert all(re.match(r"\d{4}(_\d\d){5}", path.name) for path in paths)
    assert make_run(paths[0]).path == paths[0].resolve()


def test_latest_follows_the_newest_run(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for _ in range(2):
        run = make_run(new_run_path(results))
        assert point_latest(run.path)
        assert RunFolder.open(results / "latest") == run
    assert not (results / "latest").readlink().is_absolute()
    assert not list(results.glob(".latest*"))


def test_a_run_elsewhere_leaves_no_link(tmp_path: Path) -> None:
    assert point_latest(make_run(tmp_path / "mine").path) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_latest_that_can_not_be_made_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    (results / "latest").mkdir(parents=True)
    assert point_latest(results / "run") is False

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert point_latest(tmp_path / "other" / "results" / "run") is False


def test_json_has_no_word_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": math.nan, "b": [1.5, -math.inf], "c": ({"d": math.inf},)})
    assert read_json(path) == {"a": None, "b": [1.5, None], "c": [{"d": None}]}
    assert json.loads(path.read_text())["a"] is None


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(_: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            write_json(path, {"new": 1})
    with pytest.raises(RunError, match="JSON"):
        write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_reading_is_bounded_and_hangs_on_nothing(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b" " * 100)
    with pytest.raises(RunError, match="larger than the 99"):
        read_json(tmp_path / "big.json", limit=99)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RunError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(RunError, match="can't be read"):
        read_json(tmp_path / "link.json")


@pytest.mark.parametrize("stage", STAGES)
def test_checkpoint_names(stage: str) -> None:
    assert parse_checkpoint_name(f"{stage}_step_0") == (stage, 0)
    assert parse_checkpoint_name(f"{stage}_step_50000") == (stage, 50000)
    for wrong in ("_step_", "_step_007", "_step_-1", "_step_1\n", "_step_1e3", f"_step_{10**15}", "_step_١"):
        assert parse_checkpoint_name(stage + wrong) is None
