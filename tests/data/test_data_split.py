from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from terrarium.data.index import EpisodeEntry
from terrarium.data.split import split


def entries(lengths: list[int]) -> list[EpisodeEntry]:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    return [
        EpisodeEntry(shard=0, start=start, frames=frames, held_out=False, source="")
        for start, frames in zip(starts, lengths, strict=True)
    ]


@given(
    lengths=st.lists(st.integers(20, 2000), min_size=1, max_size=60),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
def test_about_the_fraction_is_held_out(lengths: list[int], fraction: float, seed: int) -> None:
    found = split(entries(lengths), fraction, seed)
    held_out = sum(entry.frames for entry in found if entry.held_out)
    assert fraction / 2 - 0.01 <= held_out / sum(lengths) <= 2 * fraction + 0.01
    assert 0 < held_out < sum(lengths)
    assert found == split(entries(lengths), fraction, seed), "the same seed, the same split"
    covered = [frame for entry in found for frame in range(entry.start, entry.stop)]
    assert covered == list(range(sum(lengths))), "every frame is in one episode"
    assert len(found) <= len(lengths) + 1, "at most one episode is cut"


def test_other_seeds_choose_others() -> None:
    chosen = {
        tuple(entry.start for entry in split(entries([10] * 50), 0.1, seed) if entry.held_out)
        for seed in range(10)
    }
    assert len(chosen) == 10
