"""Which rows of a batch are whose, and what the mean over shares is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from terrarium.data.dataset import Dataset
from terrarium.errors import UsageError
from terrarium.models.step_result import StepResult
from terrarium.train.adjustments import UNCHANGED
from terrarium.train.distributed import ALONE, Ranks
from terrarium.train.step import Adjusted
from tiny_training import make_stage
from tiny_world import tiny_config


@given(st.integers(1, 9), st.integers(0, 60))
def test_shares_cover_a_batch_and_differ_by_one_row_at_most(count: int, more: int) -> None:
    shares = [Ranks(rank, count).share(count + more) for rank in range(count)]
    assert shares[0].start == 0
    assert shares[-1].stop == count + more
    assert all(one.stop == other.start for one, other in pairwise(shares))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_that_leaves_a_process_without_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="batch of 2 clips leaves some of 3 processes without any"):
        Ranks(0, 3).share(2)


@pytest.mark.parametrize("parts", [1, 2])
def test_processes_read_the_rows_of_one_batch(footage: Dataset, tmp_path: Path, parts: int) -> None:
    config = tiny_config("video_tokenizer.batch_size=6", f"video_tokenizer.gradient_accumulation={parts}")
    stage = make_stage("video_tokenizer", footage, tmp_path, config)
    whole = stage.batches.batch(4)
    mine = [Adjusted(stage, UNCHANGED, Ranks(rank, 2)).batch(4) for rank in range(2)]
    for part in range(parts):  # each micro-batch is shared out
        rows = slice(part * 6 // parts, (part + 1) * 6 // parts)
        shared = [torch.from_numpy(each.video_BTHWC).chunk(parts)[part] for each in mine]
        assert torch.equal(torch.cat(shared), torch.from_numpy(whole.video_BTHWC[rows]))
    assert mine[0].fingerprint() != mine[1].fingerprint()


class Pair(Ranks):
    """The first of two; the other's means are 6 and 0.5, over 3 and 1."""

    def add_up(self, x: Tensor) -> Tensor:
        return x + torch.tensor([[6.0 * 3, 0.5 * 1], [3.0, 1.0]], dtype=x.dtype)


def test_means_over_shares_weigh_what_they_are_means_over() -> None:
    measures, weights = {"accuracy": torch.tensor(0.25)}, {"accuracy": torch.tensor(3.0)}
    result = StepResult(torch.tensor(2.0), measures, torch.tensor(1.0), weights)
    whole, factor = Pair(0, 2).whole(result, 5)
    assert float(whole.loss) == pytest.approx((2.0 * 1 + 6.0 * 3) / 4)
    assert float(whole.measures["accuracy"]) == pytest.approx((0.25 * 3 + 0.5 * 1) / 4)
    assert float(factor) == pytest.approx(2 * 1 / 4), "the mean over two processes is the sum of their parts"


def test_alone_nothing_is_shared() -> None:
    result = StepResult(torch.tensor(2.0))
    assert ALONE.whole(result, 5) == (result, 1.0)
    assert ALONE.from_first(lambda: 7) == 7
    assert ALONE.gathered([1.0, 2.0]) == [[1.0, 2.0]]
