"""Checkpoints that several processes wrote in parts: read as one, judged as one, refused as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from run_samples import make_stage, sample_files, sample_state
from safetensors.numpy import load, save

from terrarium.errors import RefusedStateError
from terrarium.run.checkpoint import read_files
from terrarium.run.folder import RunFolder, StageFolder
from terrarium.run.sameness import differences
from terrarium.run.sharded import begin_shards, commit_shards
from terrarium.run.shards import FILES, join_files, whole_shape
from terrarium.run.survey import newest_valid
from terrarium.run.verify import judge

Arrays = dict[str, NDArray[np.generic]]


def cut(whole: Arrays, count: int) -> dict[str, bytes]:
    """Shards of a state, as PyTorch's distributed checkpoint writes them; scalars go to the first."""
    files = {}
    for rank in range(count):
        rows = {
            name: slice(len(a) * rank // count, len(a) * (rank + 1) // count)
            for name, a in whole.items()
            if a.ndim
        }
        parts = {
            name: np.ascontiguousarray(whole[name][at]) for name, at in rows.items() if at.stop > at.start
        }
        places = {
            name: {"saved_offsets": [rows[name].start] + [0] * (whole[name].ndim - 1)} for name in parts
        }
        if rank == 0:
            scalars = {name: array for name, array in whole.items() if not array.ndim}
            parts, places = parts | scalars, places | {name: {"saved_offsets": []} for name in scalars}
        metadata = {"DCP_SHARDING_INFO": json.dumps(places), "format": "pt"}
        files[f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"] = save(parts, metadata)
    return files


def state_in_shards(step: int, count: int) -> dict[str, bytes]:
    """The sample of a checkpoint, in so many shards."""
    kinds = {file: kind for kind, file in FILES.items()}
    whole: Arrays = {
        f"{kinds[file]}/{name}": array
        for file, blob in sample_files(step).items()
        for name, array in load(blob).items()
    }
    return cut(whole, count)


def write(stage: StageFolder, step: int, files: dict[str, bytes]) -> Path:
    staging = begin_shards(stage, step, sum(map(len, files.values())))
    for name, blob in files.items():
        (staging / name).write_bytes(blob)
    return staging


def commit(stage: StageFolder, step: int, files: dict[str, bytes]) -> Path:
    return commit_shards(stage, step, write(stage, step, files), state=sample_state(step), keep=3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shards_are_read_as_what_one_process_would_have_written(tmp_path: Path, count: int) -> None:
    stage = make_stage(tmp_path)
    path = commit(stage, 10, state_in_shards(10, count))
    assert newest_valid(stage)[0] == path
    assert judge(path).level == 3
    found, expected = read_files(path), sample_files(10)
    assert found.keys() == expected.keys()
    for name, blob in expected.items():
        ours, theirs = load(found[name]), load(blob)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_in_which_shard_a_tensor_lies_makes_no_difference(tmp_path: Path) -> None:
    """PyTorch spreads them anew each time; what they are put together to is the same, bit for bit."""
    files = state_in_shards(1, 2)
    swapped = dict(zip(files, reversed(files.values()), strict=True))
    assert join_files(files) == join_files(swapped)
    run, other = (make_stage(tmp_path / name) for name in ("run", "other"))
    for stage, blobs in ((run, files), (other, swapped)):
        stage.history_path.write_text('{"step": 0, "loss": 1.0}\n')
        commit(stage, 1, blobs)
    runs = [RunFolder.open(stage.path.parent) for stage in (run, other)]
    own = [told for told in differences(*runs) if told.startswith("dynamics")]
    assert own == []
    shard = next(other.checkpoint_path(1).glob("shard-00001-*"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert len([told for told in differences(*runs) if told.startswith("dynamics")]) == 1
    shard.unlink()
    assert len([told for told in differences(*runs) if told.startswith("dynamics")]) == 3


def test_a_shard_that_is_missing_is_refused_and_put_aside(tmp_path: Path) -> None:
    stage = make_stage(tmp_path)
    before = commit(stage, 10, state_in_shards(10, 2))
    files = state_in_shards(20, 2)
    files.pop(sorted(files)[0])
    with pytest.raises(RefusedStateError, match="step 20"):
        commit(stage, 20, files)
    assert newest_valid(stage)[0] == before
    assert len(list(stage.checkpoints_path.glob(".refused-*"))) == 1


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    stage, files = make_stage(tmp_path), state_in_shards(10, 2)
    last = sorted(files)[-1]
    content = files[last]
    files[last] = content[:-4] + np.float32(np.nan).tobytes()
    with pytest.raises(RefusedStateError, match="not finite"):
        commit(stage, 10, files)


def test_a_shard_that_is_lost_later_is_told(tmp_path: Path) -> None:
    path = commit(make_stage(tmp_path), 10, state_in_shards(10, 3))
    next(path.glob("shard-00002-*")).unlink()
    assert (judge(path).whole, judge(path).flaw) == (False, "incomplete")


@given(st.integers(1, 6), st.integers(0, 9), st.sampled_from([(), (3,)]))
def test_any_cut_by_rows_is_joined(count: int, rows: int, rest: tuple[int, ...]) -> None:
    whole = np.arange(rows * int(np.prod(rest, initial=1)), dtype=np.float32).reshape(rows, *rest)
    other: Arrays = {"model/w": np.ones(2, np.float32), "ema/w": whole} if rows else {"model/w": np.ones(2)}
    joined = join_files(cut(other, count))
    if rows:
        assert np.array_equal(load(joined["ema.safetensors"])["w"], whole)


@pytest.mark.parametrize(
    "parts",
    [[(1, (2, 3))], [(0, (2, 3)), (3, (1, 3))], [(0, (2, 3)), (1, (2, 3))], [(0, (2, 3)), (2, (2, 4))]],
)
def test_gaps_overlaps_and_other_shapes_are_refused(parts: list[tuple[int, tuple[int, ...]]]) -> None:
    with pytest.raises(ValueError, match="leave a gap, overlap or do not fit"):
        whole_shape("w", parts)
