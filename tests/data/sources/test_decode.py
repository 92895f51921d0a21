from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from terrarium.data.sources.decode import MAX_GAP, NEAR, resample


def test_faster_footage_is_thinned_and_slower_is_held() -> None:
    thirty = [(number / 30, number) for number in range(31)]
    assert list(resample(thirty, 10)) == [(number, number == 0) for number in range(0, 31, 3)]
    five = [(number / 5, number) for number in range(4)]
    assert [number for number, _ in resample(five, 10)] == [0, 0, 1, 1, 2, 2, 3]


def test_a_jump_in_time_begins_anew() -> None:
    timed = [(0.0, "a"), (0.1, "b"), (60.0, "c"), (60.1, "d"), (3.0, "e")]
    found = list(resample(timed, 10))
    assert found == [("a", True), ("b", False), ("c", True), ("d", False), ("e", True)]


@given(
    gaps=st.lists(st.floats(0.0, MAX_GAP - 0.01), min_size=1, max_size=50),
    rate=st.sampled_from([1.0, 7.5, 10.0, 30.0]),
)
def test_every_moment_shows_the_last_picture_before_it(gaps: list[float], rate: float) -> None:
    times = [sum(gaps[:number]) + 5.0 for number in range(len(gaps))]
    found = [time for time, _ in resample([(time, time) for time in times], rate)]
    length = times[-1] - times[0]
    assert abs(len(found) - (length * rate + 1)) <= 1.1
    for number, shown in enumerate(found):
        due = times[0] + number / rate
        assert shown == [time for time in times if not due < time - NEAR][-1]
