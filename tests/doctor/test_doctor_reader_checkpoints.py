"""Checkpoints of every layout judged by what is in them, and nothing in them run."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from patients import checkpoints as patients
from patients.checkpoints import LAYOUTS, cut_off, flip_bit, largest_file, tinyworlds, weights
from terrarium.doctor.readers import checkpoints as reader
from terrarium.doctor.readers.checkpoint_content import Reading, read_unit
from terrarium.doctor.readers.checkpoint_units import Unit
from terrarium.doctor.readers.checkpoints import examine_checkpoints
from terrarium.doctor.saved import Checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`checkpoints/` of the stage `tmp_path`."""
    return tmp_path / "checkpoints"


def judged(folder: Path) -> list[Checkpoint]:
    return list(examine_checkpoints(folder.parent)[0])


def only(folder: Path) -> Checkpoint:
    found = judged(folder)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_one_is_whole_in_every_layout(layout: str, folder: Path) -> None:
    for step in (200, 1000):
        LAYOUTS[layout](folder, step)
    found = judged(folder)
    assert [(one.step, one.whole, one.level, one.judged_to, one.flaw) for one in found] == [
        (200, True, 3, 3, ""),
        (1000, True, 3, 3, ""),
    ]
    assert found[0].bytes > 8000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_among_the_weights(layout: str, folder: Path) -> None:
    bad = weights()
    bad["blocks.1.weight"][3, 5] = float("nan")
    LAYOUTS[layout](folder, 1000, bad)
    one = only(folder)
    assert (one.whole, one.flaw, one.level) == (False, "not-finite", 2)
    assert "blocks.1.weight" in one.detail


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_but_zeros(layout: str, folder: Path) -> None:
    LAYOUTS[layout](folder, 1000, {name: torch.zeros_like(tensor) for name, tensor in weights().items()})
    assert only(folder).flaw == "all-zero"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_weights_at_all(layout: str, folder: Path) -> None:
    LAYOUTS[layout](folder, 1000, {})
    one = only(folder)
    assert (one.whole, one.flaw) == (False, "empty")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_file_that_ends_too_early(layout: str, share: float, folder: Path) -> None:
    cut_off(largest_file(LAYOUTS[layout](folder, 1000)), share)
    one = only(folder)
    assert (one.whole, one.flaw) == (False, "damaged")


@pytest.mark.parametrize("layout", ["tinyworlds", "single file", "shards"])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_bit_is_told_where_there_are_checksums(layout: str, place: float, folder: Path) -> None:
    flip_bit(largest_file(LAYOUTS[layout](folder, 1000)), place)
    assert only(folder).flaw == "damaged"


def test_a_file_that_is_gone(folder: Path) -> None:
    for step in (100, 200, 300):
        tinyworlds(folder, step)
    (folder / "dynamics_step_300" / "optim_state_dict.pt").unlink()
    found = judged(folder)
    assert [one.flaw for one in found] == ["", "", "incomplete"]
    assert "optim_state_dict.pt" in found[-1].detail


def test_a_shard_that_is_gone(folder: Path) -> None:
    largest_file(patients.in_shards(folder, 1000)).unlink()
    assert only(folder).flaw == "incomplete"


def test_a_step_that_is_not_the_one_in_the_name(folder: Path) -> None:
    for step in (100, 200, 300):
        tinyworlds(folder, step)
    tinyworlds(folder, 400, said=200)
    found = judged(folder)
    assert [one.flaw for one in found] == ["", "", "", "wrong-step"]
    assert found[-1].detail == "200"


def test_names_that_count_something_else_are_no_fault(folder: Path) -> None:
    for step in (100, 200, 300):
        tinyworlds(folder, step, said=4 * step)
    assert [one.flaw for one in judged(folder)] == ["", "", ""]


def test_a_step_is_taken_from_the_content_where_the_name_has_none(folder: Path) -> None:
    patients.single_file(folder, 700).rename(folder / "last.ckpt")
    assert (only(folder).step, only(folder).whole) == (700, True)


@pytest.mark.parametrize("make", [patients.hostile, patients.hostile_pickle])
def test_what_would_run_something_is_told_and_not_run(make: object, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    trace = tmp_path / "trace"
    make(folder / "model_step_5.pt", trace)  # type: ignore[operator]
    one = only(folder)
    assert (one.whole, one.flaw) == (False, "hostile")
    assert "system" in one.detail
    assert not trace.exists()


class Calls:
    """Whoever unpickles this calls what it holds."""

    def __init__(self, call: object, *arguments: object) -> None:
        self._call, self._arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._call, self._arguments


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "made", [lambda mark: (subprocess.check_call, ["touch", str(mark)]), lambda mark: (Path.touch, mark)]
)
def test_names_of_python_2_and_detours_are_no_cover(
    made: Callable[[Path], tuple[object, ...]], protocol: int, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    mark = tmp_path / "mark"
    content = pickle.dumps({"weight": Calls(*made(mark))}, protocol=protocol)
    (folder / "model_step_5.pt").write_bytes(content)
    assert only(folder).flaw == "hostile"
    assert not mark.exists()


def test_files_of_one_step_are_one_checkpoint(folder: Path) -> None:
    folder.mkdir()
    torch.save(weights(), folder / "model_step_10.pt")
    torch.save(patients.moments(), folder / "optimizer_step_10.pt")
    one = only(folder)
    assert (one.step, one.whole) == (10, True)


def test_plain_sgd_keeps_no_moments(folder: Path) -> None:
    made = tinyworlds(folder, 10)
    model = torch.nn.Linear(2, 2)
    torch.save(torch.optim.SGD(model.parameters(), lr=0.1).state_dict(), made / "optim_state_dict.pt")
    assert only(folder).whole


def test_masks_of_minus_infinity_are_finite_enough(folder: Path) -> None:
    mask = torch.triu(torch.full((8, 8), float("-inf")), 1)
    tinyworlds(folder, 10, weights() | {"attention.mask": mask})
    assert only(folder).whole


def test_beyond_the_budget_an_empty_one_is_still_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_DEEP_BYTES", 10)
    tinyworlds(folder, 100)
    tinyworlds(folder, 200, {})
    tinyworlds(folder, 300)
    found, missing = examine_checkpoints(folder.parent)
    assert [(one.judged_to, one.flaw) for one in found] == [(0, ""), (0, "empty"), (3, "")]
    assert [(gap.what, gap.why, gap.detail) for gap in missing] == [("checkpoints", "sizes-only", "2 / 3")]


def test_when_time_is_up_the_oldest_are_not_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (100, 200, 300):
        tinyworlds(folder, step)
    clock = iter(range(0, 1000, 15))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    found, missing = examine_checkpoints(folder.parent)
    assert [(one.step, one.judged_to) for one in found] == [(200, 0), (300, 3)]
    assert [(gap.why, gap.detail) for gap in missing] == [("sizes-only", "1 / 2"), ("no-time", "1 / 3")]


def test_links_pipes_and_what_is_hidden_are_passed_over(folder: Path, tmp_path: Path) -> None:
    whole = tinyworlds(folder, 100)
    (folder / "latest").symlink_to(whole)
    (folder / ".staging-200").mkdir()
    (folder / "latest.txt").write_text("dynamics_step_100")
    os.mkfifo(folder / "dynamics_step_300.pt")
    (tmp_path / "secret").write_bytes(b"PK\x03\x04")
    (folder / "dynamics_step_400.pt").symlink_to(tmp_path / "secret")
    assert [(one.step, one.flaw) for one in judged(folder)] == [(100, ""), (300, "unreadable")]


def test_nothing_is_written(folder: Path) -> None:
    for layout in LAYOUTS.values():
        layout(folder, 100)
    before = {path: path.stat() for path in folder.rglob("*")}
    judged(folder)
    after = {path: path.stat() for path in folder.rglob("*")}
    assert {path: (s.st_mtime_ns, s.st_size) for path, s in after.items()} == {
        path: (s.st_mtime_ns, s.st_size) for path, s in before.items()
    }


def test_one_that_is_being_written_is_not_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = largest_file(tinyworlds(folder, 100))
    cut_off(path)
    real = read_unit

    def read_while_it_grows(unit: Unit, *, deep: bool, expected: frozenset[str]) -> Reading:
        reading = real(unit, deep=deep, expected=expected)
        with path.open("ab") as file:
            file.write(b"more")
        return reading

    monkeypatch.setattr(reader, "read_unit", read_while_it_grows)
    found, missing = examine_checkpoints(folder.parent)
    assert not found
    assert [gap.why for gap in missing] == ["being-written"]


def test_a_folder_of_several_is_looked_into(folder: Path) -> None:
    for step in (10, 20):
        patients.single_file(folder / "version_0", step)
        patients.in_shards(folder / "sharded", step)
    found = judged(folder)
    assert [(one.step, one.whole) for one in found] == [(10, True), (10, True), (20, True), (20, True)]


def test_without_a_step_in_name_or_content_time_orders(folder: Path) -> None:
    folder.mkdir()
    for place, name in enumerate(["zebra.pt", "best.pt", "last.pt"]):
        torch.save(weights(), folder / name)
        os.utime(folder / name, (1000 + place, 1000 + place))
    assert [one.name for one in judged(folder)] == ["zebra.pt", "best.pt", "last.pt"]


def test_shares_of_several_processes_may_be_empty_alone(folder: Path) -> None:
    (folder / "global_step10").mkdir(parents=True)
    part = folder / "global_step10"
    torch.save({"module": {}}, part / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    state = {"optimizer_state_dict": {"fp32_flat_groups": [torch.ones(9)]}}
    torch.save(state, part / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert only(folder).whole
