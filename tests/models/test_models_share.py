"""What is drawn, summed and normalised over a batch of which only some rows are here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from terrarium.models.share import BatchNorm, Share, add_up, rand, sharing

CPU = torch.device("cpu")


def nobody_else(x: Tensor) -> Tensor:
    return x


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_rows_draw_what_the_whole_batch_would(before: int, here: int, after: int, frames: int) -> None:
    total = before + here + after
    torch.manual_seed(5)
    whole = rand((total * frames, 2), CPU)
    torch.manual_seed(5)
    with sharing(Share(range(before, before + here), total, nobody_else)):
        mine = rand((here * frames, 2), CPU)
    assert torch.equal(mine, whole[before * frames : (before + here) * frames])


def test_outside_of_a_step_a_batch_is_whole() -> None:
    x = torch.ones(3)
    assert add_up(x) is x


def test_sums_have_the_sum_of_all_gradients() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with sharing(Share(range(2), 4, lambda tensor: tensor * 2)):  # another process with the same rows
        (add_up(x) ** 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [8.0, 16.0], "of ours and of the other's loss, which both see the sum"


@pytest.mark.parametrize("rows", [4, 9])
def test_batch_norm_is_what_pytorch_makes_of_the_whole(rows: int) -> None:
    torch.manual_seed(rows)
    x = torch.randn(rows, 3) * 4 + 1
    ours, theirs = BatchNorm(3, momentum=0.05), nn.BatchNorm1d(3, affine=False, momentum=0.05)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    with sharing(Share(range(rows), rows, nobody_else)):
        found = ours(mine)
    expected = theirs(other)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    (found**3).sum().backward()
    (expected**3).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer)
    with sharing(Share(range(rows), rows, nobody_else)):
        assert torch.equal(ours.eval()(x), nn.BatchNorm1d.forward(ours, x)), "in evaluation as always"
