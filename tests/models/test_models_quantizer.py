from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from terrarium.models.quantizer import BinaryQuantizer, FiniteScalarQuantizer

level_lists = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def all_digits(levels: list[int]) -> torch.Tensor:
    return torch.cartesian_prod(*(torch.arange(count) for count in levels)).view(-1, len(levels))


@given(level_lists)
def test_digits_vectors_and_tokens_are_three_names_of_one_thing(levels: list[int]) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    tokens = torch.arange(quantizer.codes)
    digits = quantizer.to_digits(tokens)
    assert quantizer.codes == math.prod(levels)
    assert sorted(digits.tolist()) == sorted(all_digits(levels).tolist())
    assert torch.equal(quantizer.to_tokens(digits), tokens)
    vectors = quantizer.to_vectors(digits)
    assert vectors.min() == -1
    assert vectors.max() == 1
    # a vector is where a latent would have to be to be rounded to it
    nearest, again = quantizer(torch.atanh(vectors.clamp(-0.999999, 0.999999)))
    assert torch.equal(again, digits)
    torch.testing.assert_close(nearest, vectors)


@given(level_lists, st.floats(-1e30, 1e30))
def test_any_latent_gets_a_digit_that_exists(levels: list[int], value: float) -> None:
    quantizer = FiniteScalarQuantizer(levels)
    vectors, digits = quantizer(torch.full((1, len(levels)), value))
    assert torch.equal(quantizer.to_digits(quantizer.to_tokens(digits)), digits)
    assert ((digits >= 0) & (digits < quantizer.counts)).all()
    torch.testing.assert_close(vectors, quantizer.to_vectors(digits))


def test_every_level_of_every_dimension_is_reached() -> None:
    levels = [8, 5, 3, 2]
    quantizer = FiniteScalarQuantizer(levels)
    _, digits = quantizer(torch.linspace(-4, 4, 500)[:, None].expand(-1, 4))
    assert [digits[:, i].unique().tolist() for i in range(4)] == [list(range(count)) for count in levels]


def test_gradients_pass_the_rounding_as_those_of_tanh() -> None:
    latents = torch.linspace(-2, 2, 40).view(10, 4).requires_grad_()
    vectors, _ = FiniteScalarQuantizer([8, 5, 5, 5])(latents)
    vectors.sum().backward()
    torch.testing.assert_close(latents.grad, 1 - torch.tanh(latents.detach()) ** 2)


@given(st.integers(1, 3))
def test_signs_and_codes_are_two_names_of_one_thing(bits: int) -> None:
    quantizer = BinaryQuantizer(bits)
    signs = quantizer.to_signs(torch.arange(2**bits))
    assert signs.unique(dim=0).shape == (2**bits, bits)
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    again, codes = quantizer.eval()(10 * signs)  # in evaluation a fresh norm is the identity
    assert torch.equal(codes, torch.arange(2**bits))
    assert torch.equal(again, signs)


def test_no_bit_dies_wherever_the_features_drift() -> None:
    """The collapse that plain signs suffer: all features on one side of zero, by far."""
    quantizer = BinaryQuantizer(3)
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        features = torch.randn(64, 3, generator=generator) * 1e-3 + torch.tensor([step, -5.0 * step, 40.0])
        _, codes = quantizer(features)
        shares = quantizer.to_signs(codes).mean(0).abs()
        assert codes.unique().numel() == 8
        assert shares.max() < 0.5
    # the running statistics have followed, so that evaluation sees the same codes
    still = torch.randn(640, 3, generator=generator) * 1e-3 + torch.tensor([7.0, 8.0, 9.0])
    for _ in range(300):
        quantizer(still)
    _, codes = quantizer.eval()(still)
    assert codes.unique().numel() == 8


def test_gradients_pass_the_signs() -> None:
    quantizer = BinaryQuantizer(2)
    features = torch.randn(16, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    signs, _ = quantizer(features)
    (signs * torch.arange(16.0)[:, None]).sum().backward()
    assert features.grad is not None
    assert (features.grad != 0).all()
