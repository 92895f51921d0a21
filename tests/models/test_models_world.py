from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from terrarium.errors import DataError, UsageError
from terrarium.models import world as worlds
from terrarium.play.sessions import PlayableWorld
from tiny_models import tiny_world
from tiny_world import moving_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from terrarium.models.dynamics import Past
    from terrarium.models.world import World

CLIP, _ = moving_square(10, seed=3)
CODES = [0, 1, 2, 3, 1, 1]


@pytest.fixture
def world() -> World:
    return tiny_world()


def play(world: World, codes: list[int] = CODES) -> NDArray[np.uint8]:
    return np.stack([world.step(code) for code in codes])


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (64, 96)])
def test_it_steps_from_a_few_frames(size: tuple[int, int]) -> None:
    world = tiny_world(size)
    frames_THWC, _ = moving_square(4, 0, size)
    assert (world.height, world.width, world.actions, world.context_frames) == (*size, 4, 3)
    world.reset(frames_THWC)
    frame_HWC = world.step(world.actions - 1)
    assert frame_HWC.shape == (*size, 3)
    assert frame_HWC.dtype == np.uint8
    assert frame_HWC.flags.c_contiguous


def test_equal_seeds_and_actions_give_equal_frames(world: World) -> None:
    world.reset(CLIP)
    first = play(world)
    world.reset(CLIP)
    assert np.array_equal(play(world), first)
    same, other = tiny_world(), tiny_world(seed=1)
    same.reset(CLIP)
    assert np.array_equal(play(same), first)
    other.reset(CLIP)
    assert not np.array_equal(play(other), first)


def test_actions_and_starts_matter(world: World) -> None:
    dreams = []
    for clip, codes in ((CLIP, CODES), (CLIP, CODES[::-1]), (CLIP[::-1].copy(), CODES)):
        world.reset(clip)
        dreams.append(play(world, codes))
    assert not np.array_equal(dreams[0], dreams[1])
    assert not np.array_equal(dreams[0], dreams[2])


def test_it_looks_back_as_far_as_it_says(world: World) -> None:
    """One frame beyond the context counts: the first action of the context leads away from it."""
    used = world.context_frames + 1
    world.reset(CLIP)
    whole = play(world)
    world.reset(CLIP[-used:])
    assert np.array_equal(play(world), whole)
    world.reset(CLIP[-used + 2 :])
    assert not np.array_equal(play(world), whole)


def test_the_past_is_told_which_action_led_to_each_frame(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[torch.Tensor, torch.Tensor]] = []
    remember = world._dynamics.remember

    def spy(digits_BTPD: torch.Tensor, actions_BT: torch.Tensor, past: Past | None = None) -> Past:
        read.append((digits_BTPD, actions_BT))
        return remember(digits_BTPD, actions_BT, past)

    monkeypatch.setattr(world._dynamics, "remember", spy)
    codes = world.infer_actions(CLIP).tolist()
    unknown = world.actions
    for frames, led in ((10, codes[-3:]), (3, [unknown, *codes[:2]]), (1, [unknown])):
        world.reset(CLIP[:frames])
        digits_BTPD, actions_BT = read.pop()
        assert actions_BT.tolist() == [led]
        video = torch.from_numpy(CLIP[:frames][-3:]).permute(0, 3, 1, 2) / 255
        assert torch.equal(digits_BTPD[0], world._tokenizer.encode(video)[1])
    world.step(2)
    assert read.pop()[1].tolist() == [[2]]


def test_one_frame_is_enough(world: World) -> None:
    world.reset(CLIP[:1])
    assert play(world).shape == (len(CODES), 64, 64, 3)


def test_visitors_do_not_disturb_each_other(world: World) -> None:
    world.reset(CLIP)
    alone = play(world)
    mine, theirs = world.fork(), world.fork()
    mine.reset(CLIP)
    theirs.reset(CLIP[:2])
    seen = []
    for code in CODES:
        seen.append(mine.step(code))
        theirs.step(0)
        theirs.reset(CLIP[3:5])
    assert np.array_equal(np.stack(seen), alone)
    assert mine.frames_per_second == world.frames_per_second == 10


def test_a_fork_is_reset_before_it_steps(world: World) -> None:
    world.reset(CLIP)
    with pytest.raises(UsageError, match="no past yet"):
        world.fork().step(0)


def test_a_dream_is_reset_and_steps_with_the_clip_s_own_actions(world: World) -> None:
    dreamed = world.dream(CLIP, 4)
    assert dreamed.shape == (6, 64, 64, 3)
    codes = world.infer_actions(CLIP)
    world.reset(CLIP[:4])
    assert np.array_equal(play(world, codes[3:].tolist()), dreamed)
    world.reset(CLIP[:4])
    played = play(world)
    assert np.array_equal(world.dream(CLIP, 4, np.array(CODES)), played)


def test_frames_after_the_context_reach_a_dream_only_as_actions(world: World) -> None:
    codes = np.array(CODES)
    other = CLIP.copy()
    other[4:] = 255 - other[4:]
    assert np.array_equal(world.dream(CLIP, 4, codes), world.dream(other, 4, codes))


def test_a_code_for_each_change(world: World) -> None:
    codes = world.infer_actions(CLIP)
    assert codes.shape == (9,)
    assert codes.dtype == np.int64
    assert set(codes.tolist()) <= set(range(world.actions))
    for t in range(9):
        assert world.infer_actions(CLIP[t : t + 2]).tolist() == [codes[t]]


@pytest.mark.parametrize("at_once", [1, 3, 4, 8, 9, 10])
def test_a_long_episode_is_read_in_parts(at_once: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = world.infer_actions(CLIP)
    monkeypatch.setattr(worlds, "CHANGES_AT_ONCE", at_once)
    assert world.infer_actions(CLIP).tolist() == codes.tolist()


def test_a_step_without_painting_is_the_same_step(world: World) -> None:
    world.reset(CLIP)
    painted = play(world)
    world.reset(CLIP)
    for code in CODES[:-1]:
        world.step_tokens(code)
    assert np.array_equal(world.step(CODES[-1]), painted[-1])


@pytest.mark.parametrize(
    "frames",
    [
        CLIP[0],
        CLIP[:, :32],
        CLIP[..., :1],
        CLIP.astype(np.float32),
        CLIP[:0],
        CLIP.transpose(0, 3, 1, 2),
        np.zeros((2, 0, 64, 3), np.uint8),
    ],
)
def test_frames_that_do_not_fit_are_refused_by_name(world: World, frames: NDArray[np.uint8]) -> None:
    for refuse in (world.reset, world.infer_actions):
        with pytest.raises(DataError, match=r"frames"):
            refuse(frames)


def test_a_refused_reset_leaves_the_world_where_it_was(world: World) -> None:
    world.reset(CLIP)
    first = world.step(0)
    world.reset(CLIP)
    with pytest.raises(DataError):
        world.reset(CLIP[:, :8])
    assert np.array_equal(world.step(0), first)


@pytest.mark.parametrize("code", [-1, 4, 10**9])
def test_a_code_that_is_not_there_is_refused(world: World, code: int) -> None:
    world.reset(CLIP)
    with pytest.raises(UsageError, match=r"no action .*0 to 3"):
        world.step(code)


def test_it_must_be_reset_first(world: World) -> None:
    with pytest.raises(UsageError, match=r"Call reset"):
        world.step(0)


def test_one_frame_holds_no_action(world: World) -> None:
    with pytest.raises(DataError, match="two frames"):
        world.infer_actions(CLIP[:1])


def test_it_is_what_play_serves(world: World) -> None:
    playable: PlayableWorld = world  # mypy holds this line to the protocol
    assert playable.fork() is not world
