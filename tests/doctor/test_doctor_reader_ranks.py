"""`ranks.jsonl` and states that were put aside, in whatever state they are found."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doctor_samples import make_small_run
from safetensors.numpy import save
from spoiling import nothing_is_run

from terrarium.doctor.ranks import Together
from terrarium.doctor.readers import ranks
from terrarium.doctor.readers.ranks import RANKS, read_ranks
from terrarium.doctor.readers.refused import read_refused
from terrarium.doctor.readers.run_folder import read_run

Row = dict[str, Any]


def row(step: int, count: int = 2, **changes: Any) -> Row:
    """What the processes of a stage say after a step."""
    return {
        "step": step,
        "ready_seconds": [0.01 * (rank + 1) for rank in range(count)],
        "clips": [f"{step * 100 + rank:08x}" for rank in range(count)],
        "clock": [1.8e9 + step + 0.001 * rank for rank in range(count)],
        **changes,
    }


def written(folder: Path, rows: Iterable[Row | str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [each if isinstance(each, str) else json.dumps(each) + "\n" for each in rows]
    (folder / RANKS).write_text("".join(texts), encoding="utf-8")
    return folder / RANKS


def read(folder: Path, rows: Iterable[Row | str]) -> Together:
    found = read_ranks(written(folder, rows))
    assert found is not None
    return found


def test_what_every_rank_said_is_read(tmp_path: Path) -> None:
    found = read(tmp_path / "dynamics", [row(step, 3) for step in range(4)])
    assert (found.source, found.damaged, found.cut_short) == ("dynamics/ranks.jsonl", 0, False)
    (stretch,) = found.stretches
    assert stretch.count == found.most == 3
    assert stretch.steps_N.tolist() == [0, 1, 2, 3]
    assert stretch.ready_NR[2].tolist() == [0.01, 0.02, 0.03]
    assert stretch.clock_NR[1].tolist() == [1.8e9 + 1, 1.8e9 + 1.001, 1.8e9 + 1.002]
    assert len(set(stretch.clips_NR.ravel().tolist())) == 12


def test_of_steps_that_were_taken_again_the_last_counts(tmp_path: Path) -> None:
    again = [row(step, ready_seconds=[1.0, 2.0]) for step in range(6, 9)]
    found = read(tmp_path, [*(row(step) for step in range(12)), *again])
    (stretch,) = found.stretches
    assert stretch.steps_N.tolist() == list(range(9)), "rows beyond what was taken again are taken back"
    assert stretch.ready_NR[5].tolist() == [0.01, 0.02]
    assert stretch.ready_NR[6].tolist() == [1.0, 2.0]


def test_another_number_of_processes_begins_another_stretch(tmp_path: Path) -> None:
    rows = [*(row(step, 2) for step in range(10)), *(row(step, 3) for step in range(7, 12))]
    found = read(tmp_path, rows)
    assert [(each.count, each.steps_N.tolist()) for each in found.stretches] == [
        (2, list(range(7))),
        (3, list(range(7, 12))),
    ]
    assert found.latest.count == found.most == 3


NO_ROWS = (
    "",
    "\n",
    "not json\n",
    '{"step": 1}\n',
    '{"step": true, "clock": [1, 2]}\n',
    '{"step": -1, "clock": [1, 2]}\n',
    '{"step": 1.5, "clock": [1, 2]}\n',
    '{"step": 1e300, "clock": [1, 2]}\n',
    '{"step": 1, "clock": [1]}\n',
    '{"step": 1, "clock": [1, 2], "clips": ["a"]}\n',
    '{"step": 1, "clock": 5, "clips": "ab", "ready_seconds": {"0": 1}}\n',
    f'{{"step": 1, "clock": {[0] * 5000}}}\n',
    f'{{"step": {"9" * 400}, "clock": [1, 2]}}\n',
    "[" * 100_000 + "\n",
    "\x00\x00\n",
)


@pytest.mark.parametrize("line", NO_ROWS)
def test_lines_that_are_no_rows_are_counted(tmp_path: Path, line: str) -> None:
    assert read_ranks(written(tmp_path, [line])) is None
    found = read(tmp_path, [row(0), line, row(1), '{"step": 2, "ready_sec'])
    assert found.latest.steps_N.tolist() == [0, 1]
    assert found.damaged == 1 + bool(line.strip())


def test_figures_that_are_none_are_not_known(tmp_path: Path) -> None:
    strange = row(0, ready_seconds=[-1, "0.5"], clips=[None, 7], clock=[1e300, True])
    (stretch,) = read(tmp_path, [strange, row(1, clips=None), row(2)]).stretches
    assert np.isnan(stretch.ready_NR[0]).all()
    assert np.isnan(stretch.clock_NR[0]).all()
    assert (stretch.clips_NR[:2] == -1).all()
    assert not stretch.repeated_NR.any(), "what is not known is not the same"


def test_of_a_huge_file_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "MOST_BYTES", 1000)
    found = read(tmp_path, [row(step) for step in range(100)])
    assert found.cut_short
    assert found.damaged == 0, "the first line is not whole, and not damaged either"
    steps = found.latest.steps_N.tolist()
    assert steps == list(range(100 - len(steps), 100))
    assert 5 <= len(steps) < 10


def test_a_number_that_changes_all_the_time_is_kept_within_bounds(tmp_path: Path) -> None:
    found = read(tmp_path, [row(step, 2 + step % 2) for step in range(1000)])
    assert len(found.stretches) == ranks.MOST_STRETCHES
    assert found.latest.steps_N.tolist() == [999]


def test_spoiled_files_never_raise(tmp_path: Path) -> None:
    dice = random.Random(5)  # noqa: S311 - nothing secret
    whole = written(tmp_path, [row(step) for step in range(30)]).read_bytes()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(dice.randrange(1, 40)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (tmp_path / RANKS).write_bytes(content[: dice.randrange(len(content) + 1)])
        with nothing_is_run():
            read_ranks(tmp_path / RANKS)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere", [row(0)])
    (tmp_path / RANKS).symlink_to(tmp_path / "elsewhere" / RANKS)
    with pytest.raises(OSError):
        read_ranks(tmp_path / RANKS)


def test_a_run_has_it_with_its_stage(tmp_path: Path) -> None:
    run = make_small_run(tmp_path / "run")
    written(run / "dynamics", [*(row(step) for step in range(5)), '{"step": 5, "rea'])
    written(run / "latent_actions", ["nothing\n"])
    found = read_run(run)
    together = found.stages["dynamics"].ranks
    assert together is not None
    assert together.latest.steps_N.size == 5
    assert found.stages["latent_actions"].ranks is found.stages["video_tokenizer"].ranks is None
    gaps = {(gap.stage, gap.why) for gap in found.missing if gap.what == "ranks"}
    assert gaps == {("dynamics", "lost-rows"), ("latent_actions", "no-rows")}


def put_aside(stage: Path, name: str, **files: dict[str, np.ndarray]) -> None:
    """A state under a hidden name."""
    folder = stage / "checkpoints" / name
    folder.mkdir(parents=True)
    for file, tensors in files.items():
        (folder / f"{file}.safetensors").write_bytes(save(tensors))


def test_a_state_without_a_key_is_told_from_others(tmp_path: Path) -> None:
    some = {"x": np.ones(3, np.float32)}
    cases: dict[str, tuple[dict[str, dict[str, np.ndarray]], str, int | None]] = {
        "nothing": ({"model": {}, "ema": {}, "optimizer": {}}, "empty", 0),
        "no-average": ({"model": some, "ema": {}}, "empty", 1),
        "nan": ({"model": {"x": np.array([np.nan], np.float32)}}, "not-finite", 1),
        "other": ({"model": some}, "", 1),
        "no-files": ({}, "", None),
    }
    for name, (files, flaw, keys) in cases.items():
        stage = tmp_path / name / "dynamics"
        put_aside(stage, ".refused-dynamics_step_20-4711", **files)
        found = read_refused(stage)
        assert found is not None, name
        assert (found.step, found.process, found.flaw, found.keys) == (20, 4711, flaw, keys), name
        assert not found.in_shards


def test_a_state_in_shards_is_one(tmp_path: Path) -> None:
    shards = {f"shard-0000{rank}-model-0000{rank + 1}-of-00002": {"x": np.ones(2)} for rank in range(2)}
    put_aside(tmp_path / "dynamics", ".refused-dynamics_step_20-4711", **shards)
    found = read_refused(tmp_path / "dynamics")
    assert found is not None
    assert (found.flaw, found.keys, found.in_shards) == ("", 2, True)


def test_only_what_was_refused_counts_and_the_latest_of_it(tmp_path: Path) -> None:
    stage = tmp_path / "dynamics"
    assert read_refused(stage) is None
    for name in (".staging-dynamics_step_90-5", ".refused-dynamics-5", ".refused-dynamics_step_80-x"):
        put_aside(stage, name, model={})
    (stage / "checkpoints" / ".refused-dynamics_step_70-5").write_text("no folder")
    (stage / "checkpoints" / ".refused-dynamics_step_60-5").symlink_to(tmp_path)
    assert read_refused(stage) is None
    put_aside(stage, ".refused-dynamics_step_9-5", model={})
    put_aside(stage, ".refused-dynamics_step_10-5", model={})
    found = read_refused(stage)
    assert found is not None
    assert found.step == 10


def test_a_damaged_one_is_no_reason_to_stop(tmp_path: Path) -> None:
    stage = tmp_path / "dynamics"
    put_aside(stage, ".refused-dynamics_step_10-5", model={})
    file = stage / "checkpoints" / ".refused-dynamics_step_10-5" / "model.safetensors"
    for content in (b"", b"\x00" * 7, b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"[]"):
        file.write_bytes(content)
        found = read_refused(stage)
        assert found is not None
        assert (found.flaw, found.keys) == ("", None)
