"""Visitors on real sockets: their requests, their number, their manners and their leaving."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fake_world import HEIGHT, LABELS, NO_ACTION, WIDTH, FakeWorld, make_starts
from hypothesis import given, settings
from hypothesis import strategies as st
from running_server import Visitor, corner, running, visit
from websockets.exceptions import ConnectionClosed

from terrarium.errors import PlayError
from terrarium.play import create_app
from terrarium.play.listen import SOCKET_MESSAGE_BYTES
from terrarium.play.protocol import (
    CLOSE_FULL,
    CLOSE_IDLE,
    CLOSE_MALFORMED,
    CLOSE_WORLD_FAILED,
    MESSAGE_BYTES,
    MalformedMessageError,
    parse_request,
)
from terrarium.play.server import MALFORMED_IN_A_ROW


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app = create_app(FakeWorld(), make_starts(), labels=LABELS, title="Fake", port=0, max_sessions=2)
    with running(app) as address:
        yield address


@contextmanager
def enter(address: str) -> Iterator[Visitor]:
    """Visit as soon as there is room: a closed socket frees its session a moment later."""
    deadline = time.monotonic() + 5
    with httpx.Client(trust_env=False) as client:
        while (health := client.get(f"http://{address}/health").json())["sessions"] == health["max_sessions"]:
            assert time.monotonic() < deadline, "no room"
            time.sleep(0.02)
    with visit(address) as visitor:
        yield visitor


def closing_code(visitor: Visitor) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        visitor.receive()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_visit_from_greeting_to_reset(address: str) -> None:
    with enter(address) as visitor:
        assert visitor.world["world"] == {
            "title": "Fake",
            "actions": 5,
            "labels": list(LABELS),
            "height": HEIGHT,
            "width": WIDTH,
            "context_frames": 4,
            "frames_per_second": 35.0,
        }
        start = visitor.first["start"]
        assert corner(visitor.first) == (NO_ACTION, 0, start)
        assert visitor.first["frames_per_second"] is None
        for frame, code in enumerate([3, 0, 2], 1):
            answer = visitor.ask({"action": code})
            assert (answer["frame"], answer["start"]) == (frame, start)
            assert corner(answer) == (code, frame, start)
            assert answer["milliseconds"] >= 0
            assert answer["frames_per_second"] > 0
        again = visitor.ask({"reset": True})
        assert (again["frame"], again["start"]) == (0, 1 - start)
        assert corner(again) == (NO_ACTION, 0, 1 - start)


def test_visitors_have_worlds_of_their_own(address: str) -> None:
    with enter(address) as one, enter(address) as other:
        one.ask({"action": 1})
        assert corner(one.ask({"action": 2}))[:2] == (2, 2)
        assert corner(other.ask({"action": 3}))[:2] == (3, 1)


def test_one_too_many_is_told_and_let_in_later(address: str) -> None:
    with enter(address) as one, enter(address), visit(address) as refused:
        assert "2 visitors at a time" in refused.world["error"]
        assert closing_code(refused) == CLOSE_FULL
        assert one.ask({"action": 0})["frame"] == 1
    with enter(address) as later:
        assert later.first["frame"] == 0


@pytest.mark.parametrize("message", ["x" * (MESSAGE_BYTES + 1), "x" * SOCKET_MESSAGE_BYTES, b"\x00", "[]"])
def test_a_malformed_message_is_answered_and_forgiven(address: str, message: str | bytes) -> None:
    with enter(address) as visitor:
        assert list(visitor.ask(message)) == ["error"]
        assert visitor.ask({"action": 0})["frame"] == 1


def test_a_huge_message_closes_the_socket_unread(address: str) -> None:
    with enter(address) as visitor:
        visitor.socket.send("x" * (SOCKET_MESSAGE_BYTES + 1))
        assert closing_code(visitor) == 1009
    with enter(address) as later:
        assert later.first["frame"] == 0


def test_malformed_messages_in_a_row_end_the_session(address: str) -> None:
    with enter(address) as visitor:
        for _ in range(MALFORMED_IN_A_ROW - 1):
            visitor.ask("nonsense")
        assert visitor.ask({"action": 0})["frame"] == 1
        for _ in range(MALFORMED_IN_A_ROW):
            visitor.ask("nonsense")
        assert "in a row" in visitor.receive()["error"]
        assert closing_code(visitor) == CLOSE_MALFORMED


def test_wild_messages_never_kill_a_session(address: str) -> None:
    with enter(address) as visitor:

        @settings(max_examples=60, deadline=None)
        @given(st.text(max_size=400) | st.binary(max_size=400))
        def throw(message: str | bytes) -> None:
            try:
                parse_request(message, actions=5)
            except MalformedMessageError:
                assert list(visitor.ask(message)) == ["error"]
                assert corner(visitor.ask({"action": 4}))[0] == 4

        throw()


def test_the_silent_are_shown_out() -> None:
    app = create_app(FakeWorld(), make_starts(), port=0, idle_seconds=1)
    with running(app) as address, enter(address) as visitor:
        for _ in range(3):
            time.sleep(0.4)
            assert "png" in visitor.ask({"action": 0})
        assert "1 seconds" in visitor.receive()["error"]
        assert closing_code(visitor) == CLOSE_IDLE


def test_a_failing_world_ends_one_session_without_a_word_too_much(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(FakeWorld(fails_on=3), make_starts(), port=0)
    with running(app) as address, enter(address) as bystander, enter(address) as unlucky:
        with caplog.at_level(logging.CRITICAL, "terrarium"):
            answer = unlucky.ask({"action": 3})
        assert "failed" in answer["error"]
        assert "secret" not in answer["error"]
        assert closing_code(unlucky) == CLOSE_WORLD_FAILED
        assert bystander.ask({"action": 0})["frame"] == 1


def test_visitors_take_turns_on_one_thread() -> None:
    world = FakeWorld(seconds=0.004)

    def hurry(address: str) -> list[float]:
        with enter(address) as visitor:
            everybody_is_in.wait(timeout=10)
            return [time.monotonic() for _ in range(40) if visitor.ask({"action": 0})["frame"]]

    everybody_is_in = threading.Barrier(3)
    with running(create_app(world, make_starts(), port=0)) as address, ThreadPoolExecutor(3) as crowd:
        times = list(crowd.map(hurry, [address] * 3))
    assert len(world.threads) == 1
    assert [fork.steps for fork in world.forks] == [40, 40, 40]
    assert world.steps == 0
    # In turn, nobody is done before the others have had about as much.
    first_done = min(arrivals[-1] for arrivals in times)
    assert min(sum(arrival <= first_done for arrival in arrivals) for arrivals in times) >= 25


def test_starts_must_fit_the_world() -> None:
    good = make_starts()[0]
    with pytest.raises(PlayError, match="no held-out frames"):
        create_app(FakeWorld(), [], port=0)
    floats: Any = good.astype(np.float32)
    for bad in (good[:, :-1], good[0], good[:0], floats):
        with pytest.raises(PlayError, match=r"start 1 is .* 48x64x3"):
            create_app(FakeWorld(), [good, bad], port=0)


def test_labels_must_fit_the_actions() -> None:
    with pytest.raises(PlayError, match="4 labels for 5 latent actions"):
        create_app(FakeWorld(), make_starts(), labels=LABELS[:4], port=0)
