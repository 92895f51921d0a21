from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from terrarium.models.build import build_dynamics
from terrarium.models.dynamics import Dynamics, Past
from tiny_models import random_codes, random_digits, tiny_dynamics
from tiny_world import tiny_config

FRAMES, CONTEXT = 8, 3
ALL_MASKED = "dynamics.whole_mask=1"


@pytest.fixture(scope="module")
def model() -> Dynamics:
    """Two layers deep, over a grid that is not square, with a context shorter than the clips."""
    assignments = (ALL_MASKED, f"dynamics.context_frames={CONTEXT}", "dynamics.trunk_layers=2")
    return tiny_dynamics(*assignments, size=(32, 48))


def outputs_of(layer: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """What a layer gives while something runs."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        run()
    finally:
        handle.remove()
    return seen


def predictions(model: Dynamics, digits_BTPD: Tensor, actions_BT: Tensor) -> Tensor:
    """Logits (B, T - 1, P, L) as training sees them: at t they are of frame t + 1."""
    (logits_NPL,) = outputs_of(model.logits, lambda: model(digits_BTPD, actions_BT))
    logits_BTPL: Tensor = logits_NPL.unflatten(0, (len(digits_BTPD), -1))
    return logits_BTPL


def frames_that_differ(one: Tensor, other: Tensor) -> list[int]:
    """Which predicted frames, by their place in the clip."""
    differ = (one - other).abs().flatten(2).amax((0, 2)) > 1e-5
    return [t + 1 for t in differ.nonzero().flatten().tolist()]


@pytest.fixture(scope="module")
def clip(model: Dynamics) -> tuple[Tensor, Tensor]:
    return random_digits(model, 2, FRAMES), random_codes(model, 2, FRAMES - 1)


@pytest.mark.parametrize("changed", range(FRAMES))
def test_a_frame_changes_what_comes_after_it_and_nothing_before(
    model: Dynamics, clip: tuple[Tensor, Tensor], changed: int
) -> None:
    digits_BTPD, actions_BT = clip
    other_BTPD = digits_BTPD.clone()
    other_BTPD[:, changed] = random_digits(model, 2, 1, seed=9)[:, 0]
    before, after = (predictions(model, digits, actions_BT) for digits in (digits_BTPD, other_BTPD))
    # two layers that look back at 2 frames each, and the prediction is of the next one
    last = min(FRAMES, changed + 2 * (CONTEXT - 1) + 2)
    assert frames_that_differ(before, after) == list(range(changed + 1, last))


@pytest.mark.parametrize("changed", range(FRAMES - 1))
def test_action_t_changes_frame_t_plus_1_and_nothing_before(
    model: Dynamics, clip: tuple[Tensor, Tensor], changed: int
) -> None:
    digits_BTPD, actions_BT = clip
    other_BT = actions_BT.clone()
    other_BT[:, changed] = (other_BT[:, changed] + 1) % model.actions
    before, after = (predictions(model, digits_BTPD, actions) for actions in (actions_BT, other_BT))
    differing = frames_that_differ(before, after)
    assert differing[0] == changed + 1
    if changed + 2 < FRAMES:
        assert changed + 2 in differing  # the past is told which action led to it


def test_clips_do_not_look_at_each_other(model: Dynamics, clip: tuple[Tensor, Tensor]) -> None:
    digits_BTPD, actions_BT = clip
    together = predictions(model, digits_BTPD, actions_BT)
    alone = predictions(model, digits_BTPD[1:], actions_BT[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


def test_what_is_masked_does_not_leak(
    model: Dynamics, clip: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frame is only ever a target: what is given of it matters, what is masked does not."""
    digits_BTPD, actions_BT = clip
    known_NP = torch.rand(2 * (FRAMES - 1), model.places, generator=torch.Generator().manual_seed(0)) < 0.5
    monkeypatch.setattr(model, "_draw_known", lambda _frames, _device: known_NP)
    known_BP = known_NP.unflatten(0, (2, -1))[:, -1]
    random_BPD = random_digits(model, 2, 1, seed=9)[:, 0]
    before = predictions(model, digits_BTPD, actions_BT)
    for replaced_BP, leaks in ((~known_BP, False), (known_BP, True)):
        other_BTPD = digits_BTPD.clone()
        other_BTPD[:, -1] = torch.where(replaced_BP[..., None], random_BPD, digits_BTPD[:, -1])
        differing = frames_that_differ(before, predictions(model, other_BTPD, actions_BT))
        assert differing == ([FRAMES - 1] if leaks else [])


def test_playing_with_a_cache_is_what_was_trained(model: Dynamics, clip: tuple[Tensor, Tensor]) -> None:
    """Frame by frame, far beyond the context, the cached past gives the logits of the whole clip."""
    digits_BTPD, actions_BT = clip
    trained = predictions(model, digits_BTPD, actions_BT)
    led_BT = torch.cat([torch.full((2, 1), model.actions), actions_BT], 1)
    past: Past | None = None
    for t in range(FRAMES - 1):
        past = model.remember(digits_BTPD[:, t : t + 1], led_BT[:, t : t + 1], past)
        assert past.keys_values[0].shape[-2] == min(t + 1, CONTEXT - 1)
        played = logits_of_decoding(model, past, actions_BT[:, t])[0]
        torch.testing.assert_close(played, trained[:, t], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [[8], [3, 5], [1, 1, 6], [5, 2, 1]])
def test_the_past_may_be_read_in_parts(
    model: Dynamics, clip: tuple[Tensor, Tensor], parts: list[int]
) -> None:
    digits_BTPD, led_BT = clip[0], random_codes(model, 2, FRAMES)
    whole = model.remember(digits_BTPD, led_BT)
    past: Past | None = None
    for digits, led in zip(digits_BTPD.split(parts, 1), led_BT.split(parts, 1), strict=True):
        past = model.remember(digits, led, past)
    assert past is not None
    torch.testing.assert_close(past.present_BPE, whole.present_BPE, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(past.keys_values, whole.keys_values, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_context_of_one_frame_has_no_past_to_keep() -> None:
    model = tiny_dynamics("dynamics.context_frames=1", size=(16, 16))
    digits, led = random_digits(model, 1, 2), random_codes(model, 1, 2)
    past = model.remember(digits, led)
    alone = model.remember(digits[:, 1:], led[:, 1:])
    torch.testing.assert_close(past.present_BPE, alone.present_BPE)
    again = model.remember(digits[:, 1:], led[:, 1:], past)
    torch.testing.assert_close(again.present_BPE, alone.present_BPE)


def logits_of_decoding(model: Dynamics, past: Past, action_B: Tensor, steps: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return outputs_of(model.logits, lambda: model.decode(past, action_B, generator, steps))


@pytest.mark.parametrize("steps", [1, 2, 5, 64])
def test_decoding_keeps_what_it_has_decided(model: Dynamics, clip: tuple[Tensor, Tensor], steps: int) -> None:
    past = model.remember(clip[0], random_codes(model, 2, FRAMES))
    action_B = torch.tensor([0, 1])
    inputs: list[Tensor] = []
    handle = model.known_in.register_forward_pre_hook(lambda _module, given: inputs.append(given[0]))
    decoded = model.decode(past, action_B, torch.Generator().manual_seed(0), steps)
    handle.remove()
    assert decoded.shape == (2, model.places, len(model.quantizer.levels))
    assert decoded.dtype == torch.int64
    assert ((decoded >= 0) & (decoded < model.quantizer.counts)).all()
    assert len(inputs) == steps
    dimensions = len(model.quantizer.levels)
    final_BPD = model.quantizer.to_vectors(decoded)
    known_before = torch.zeros(2, model.places, dtype=torch.bool)
    for given_BPV in inputs:
        vectors_BPD, known_BP = given_BPV[..., :dimensions], given_BPV[..., dimensions].bool()
        assert (known_BP | ~known_before).all()  # nothing known is forgotten
        torch.testing.assert_close(vectors_BPD, final_BPD * known_BP[..., None])
        known_before = known_BP
    assert not inputs[0].any()


def test_decoding_is_decided_by_its_generator_and_its_action(
    model: Dynamics, clip: tuple[Tensor, Tensor]
) -> None:
    past = model.remember(clip[0], random_codes(model, 2, FRAMES))

    def decode(action: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.decode(past, torch.full((2,), action), generator, 3)

    assert torch.equal(decode(0, 0), decode(0, 0))
    assert not torch.equal(decode(0, 0), decode(0, 1))
    assert not torch.equal(decode(0, 0), decode(1, 0))


@pytest.mark.parametrize("levels", ["[8,5,5,5]", "[4,4]"])
def test_training_begins_at_the_chance_level(levels: str) -> None:
    losses = []
    for seed in range(4):
        torch.manual_seed(seed)
        model = build_dynamics(tiny_config(f"video_tokenizer.levels={levels}"), 64, 64)
        digits = random_digits(model, 4, 5, seed)
        losses.append(model(digits, random_codes(model, 4, 4, seed)).loss.item())
    assert model.chance_level == pytest.approx(math.log(math.prod(model.quantizer.levels)))
    assert sum(losses) / 4 == pytest.approx(model.chance_level, rel=0.1)


def test_every_weight_learns() -> None:
    model = tiny_dynamics("dynamics.whole_mask=0.5").requires_grad_(True).train()
    model(random_digits(model, 2, 4), random_codes(model, 2, 3)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_measures_of_a_step() -> None:
    result = tiny_dynamics()(*tiny_batch())
    assert set(result.measures) == {"accuracy", "changed_accuracy", "nats_per_token"}
    assert result.loss.shape == ()
    assert 0 <= float(result.measures["accuracy"]) <= 1


def tiny_batch() -> tuple[Tensor, Tensor]:
    model = tiny_dynamics()
    return random_digits(model, 2, 4), random_codes(model, 2, 3)


def test_a_token_that_changes_weighs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy, plain = (
        tiny_dynamics(ALL_MASKED, f"dynamics.changed_weight={weight}", size=(16, 16)) for weight in (1000, 1)
    )
    digits = random_digits(plain, 1, 1).expand(1, 2, -1, -1).clone()
    digits[0, 1, 0] = plain.quantizer.counts - 1 - digits[0, 0, 0]  # one of four tokens changes
    action = torch.zeros(1, 1, dtype=torch.long)
    logits = predictions(plain, digits, action)[0, 0].split(plain.quantizer.levels, -1)
    nats = sum(-part.log_softmax(-1).gather(1, digits[0, 1, :, i : i + 1]) for i, part in enumerate(logits))
    assert isinstance(nats, Tensor)
    torch.testing.assert_close(plain(digits, action).loss, nats.mean(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(heavy(digits, action).loss, nats[0, 0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("corruption", [0.0, 0.5])
def test_the_past_is_corrupted_in_training_only(corruption: float) -> None:
    model = tiny_dynamics(f"dynamics.corruption={corruption}", ALL_MASKED)
    digits, actions = tiny_batch()
    clean = predictions(model, digits, actions)
    torch.manual_seed(0)
    assert torch.equal(predictions(model, digits, actions), clean)
    assert torch.equal(predictions(model.train(), digits, actions), clean) == (corruption == 0)


SIDE = 4  # of the torus, in tokens


def moving_token(clips: int, frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """A token on a torus that four actions move: digits (B, T, P, 2) and actions (B, T - 1)."""
    generator = torch.Generator().manual_seed(seed)
    actions_BT = torch.randint(4, (clips, frames - 1), generator=generator)
    steps = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])
    start = torch.randint(SIDE, (clips, 1, 2), generator=generator)
    place = torch.cat([start, start + steps[actions_BT].cumsum(1)], 1) % SIDE
    flat = place[..., 0] * SIDE + place[..., 1]
    digits = nn.functional.one_hot(flat, SIDE * SIDE)[..., None] * 3
    return digits.expand(-1, -1, -1, 2).contiguous(), actions_BT


def test_a_few_steps_teach_that_actions_matter() -> None:
    torch.manual_seed(0)
    config = tiny_config(
        "video_tokenizer.levels=[4,4]",
        "dynamics.width=32",
        "dynamics.corruption=0",
        "dynamics.changed_weight=10",
        ALL_MASKED,
    )
    model = build_dynamics(config, 8 * SIDE, 8 * SIDE).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for step in range(60):
        loss = model(*moving_token(8, 4, seed=step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().requires_grad_(False)
    digits, actions = moving_token(16, 4, seed=1000)
    own, others = (model(digits, codes).loss.item() for codes in (actions, (actions + 1) % 4))
    assert own < 0.3 * model.chance_level
    assert others > 3 * own
