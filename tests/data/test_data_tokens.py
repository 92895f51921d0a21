from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import store_noise
from numpy.typing import NDArray

from terrarium.data.dataset import Dataset
from terrarium.data.loader import ClipSampler
from terrarium.data.tokens import NO_ACTION, TokenSampler, TokenStore
from terrarium.errors import DataError

PLACES = 6
Encoded = tuple[NDArray[np.uint16], NDArray[np.uint16]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.open(store_noise(tmp_path / "noise"))


class Encoder:
    """Tokens and actions that say which frames they are of; counts the episodes it has seen."""

    def __init__(self) -> None:
        self.episodes = 0

    def __call__(self, frames_THWC: NDArray[np.uint8]) -> Encoded:
        self.episodes += 1
        first_T = frames_THWC[:, 0, 0, 0].astype(np.uint16)
        tokens_TP = np.add.outer(first_T * 10, np.arange(PLACES))
        return tokens_TP.astype(np.uint16), first_T[:-1]


def fill(store: TokenStore, dataset: Dataset) -> int:
    """How many episodes had to be encoded."""
    encoder = Encoder()
    store.fill(dataset.train, encoder, lambda _done, _total: None)
    return encoder.episodes


def contents(store: TokenStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.path.iterdir())}


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "tokens", ["footage", "tokenizer", "actions"], PLACES)


def test_what_is_stored_is_what_was_encoded(store: TokenStore, dataset: Dataset) -> None:
    told: list[tuple[int, int]] = []
    store.fill(dataset.train, Encoder(), lambda done, total: told.append((done, total)))
    count = len(dataset.train)
    assert told == [(done, count) for done in range(count + 1)]
    for episode in dataset.train:
        stored = store.read(episode)
        tokens_TP, actions_T = Encoder()(episode.frames_THWC)
        assert np.array_equal(stored[:, :PLACES], tokens_TP)
        assert np.array_equal(stored[:-1, PLACES], actions_T)
        assert stored[-1, PLACES] == NO_ACTION
        assert not stored.flags.writeable


def test_held_out_footage_is_not_encoded(store: TokenStore, dataset: Dataset) -> None:
    fill(store, dataset)
    for episode in dataset.held_out:
        with pytest.raises(DataError, match="Delete it and resume"):
            store.read(episode)


def test_filling_goes_on_with_what_is_missing(store: TokenStore, dataset: Dataset) -> None:
    assert fill(store, dataset) == len(dataset.train)
    before = contents(store)
    (store.path / sorted(before)[2]).unlink()
    assert fill(store, dataset) == 1
    assert contents(store) == before
    assert fill(store, dataset) == 0


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 33)  # the sha256 behind the array, and a byte of that


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"\x00" * path.stat().st_size)


def store_less(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def store_floats(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float32))


def store_objects(path: Path) -> None:
    np.save(path, np.array([{"an": "object"}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [truncate, empty, scribble, store_less, store_floats, store_objects])
def test_a_damaged_file_is_refused_and_made_again(
    store: TokenStore, dataset: Dataset, damage: Callable[[Path], None]
) -> None:
    fill(store, dataset)
    before = contents(store)
    episode = dataset.train[1]
    path = store.path / f"episode-{episode.index:06d}.npy"
    damage(path)
    with pytest.raises(DataError, match=path.name):
        store.read(episode)
    assert fill(store, dataset) == 1
    assert contents(store) == before


def test_a_flipped_bit_is_found_and_the_file_is_made_again(store: TokenStore, dataset: Dataset) -> None:
    fill(store, dataset)
    before = contents(store)
    for name in list(before)[:2]:
        content = bytearray(before[name])
        content[len(content) // 2] ^= 1
        (store.path / name).write_bytes(content)
    assert fill(store, dataset) == 2
    assert contents(store) == before
    assert fill(store, dataset) == 0


def test_an_encoder_that_dies_leaves_whole_episodes_only(store: TokenStore, dataset: Dataset) -> None:
    encoder = Encoder()

    def die_at_the_third(frames_THWC: NDArray[np.uint8]) -> Encoded:
        if encoder.episodes == 2:
            raise KeyboardInterrupt
        return encoder(frames_THWC)

    with pytest.raises(KeyboardInterrupt):
        store.fill(dataset.train, die_at_the_third, lambda _done, _total: None)
    assert len(contents(store)) == 2
    assert fill(store, dataset) == len(dataset.train) - 2


def test_what_a_kill_left_half_written_is_overwritten(store: TokenStore, dataset: Dataset) -> None:
    store.path.mkdir(parents=True)
    (store.path / f".staging-{dataset.train[0].index:06d}.npy").write_bytes(b"half")
    assert fill(store, dataset) == len(dataset.train)
    assert not any(name.startswith(".") for name in contents(store))


def test_other_parts_have_another_store(tmp_path: Path, store: TokenStore, dataset: Dataset) -> None:
    fill(store, dataset)
    for parts in (["footage", "tokenizer", "other"], ["footage", "actions", "tokenizer"], ["footage"]):
        other = TokenStore(tmp_path / "tokens", parts, PLACES)
        assert other.path != store.path
        assert fill(other, dataset) == len(dataset.train)
    same = TokenStore(tmp_path / "tokens", ["footage", "tokenizer", "actions"], PLACES)
    assert fill(same, dataset) == 0


def test_a_folder_that_can_not_be_written_is_one_clear_error(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "tokens").write_text("a file")
    with pytest.raises(DataError, match=r"tokens.* can't be written"):
        fill(TokenStore(tmp_path / "tokens", ["footage"], PLACES), dataset)


def test_the_sampler_draws_the_clips_that_frames_would_be_drawn_from(
    store: TokenStore, dataset: Dataset
) -> None:
    fill(store, dataset)
    clips = ClipSampler(dataset.train, 5, 4, 0, "dynamics")
    sampler = TokenSampler(store, clips, dataset.train)
    for step in range(20):
        frames, tokens = clips.batch(step), sampler.batch(step)
        first_BT = frames.video_BTHWC[:, :, 0, 0, 0].astype(np.int64)
        assert tokens.tokens_BTP.shape == (4, 5, PLACES)
        assert tokens.tokens_BTP.dtype == tokens.actions_BT.dtype == np.int64
        assert np.array_equal(tokens.tokens_BTP[:, :, 0], first_BT * 10)
        assert np.array_equal(tokens.actions_BT, first_BT[:, :-1])
        assert NO_ACTION not in tokens.actions_BT
        assert sampler.identity(step) == clips.identity(step)
