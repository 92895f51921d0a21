"""The address: bound before it is announced, refused with a reason, left quietly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest
from fake_world import FakeWorld, make_starts
from running_server import visit

from terrarium.errors import PlayError
from terrarium.play import create_app, serve
from terrarium.play.listen import bind

PROGRAM = """
from fake_world import FakeWorld, make_starts
from terrarium.play import create_app, serve
serve(create_app(FakeWorld(), make_starts(), port=0), port=0, announce=lambda url: print(url, flush=True))
print("done")
"""


class AnnouncedError(Exception):
    """Thrown from the announcement, so that `serve` doesn't stay."""


def test_the_socket_listens_before_it_is_announced() -> None:
    def announce(url: str) -> None:
        parts = httpx.URL(url)
        assert parts.port is not None
        socket.create_connection((parts.host, parts.port), timeout=2).close()
        raise AnnouncedError(url)

    app = create_app(FakeWorld(), make_starts(), port=0)
    with pytest.raises(AnnouncedError, match=r"^http://127\.0\.0\.1:\d+/$"):
        serve(app, port=0, announce=announce)


def test_a_busy_port_is_named_and_another_proposed() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        app = create_app(FakeWorld(), make_starts(), port=port)
        with pytest.raises(PlayError, match=rf"port {port} is already in use .* --port \d+"):
            serve(app, port=port, announce=lambda url: pytest.fail(f"announced {url}"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "*"])  # noqa: S104 - refused
def test_a_wildcard_is_refused(host: str) -> None:
    with pytest.raises(PlayError, match="stands for every address"):
        bind(host, 0)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a" * 70, "nul\0"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(PlayError, match="listen on"):
        bind(host, 0)


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(PlayError, match=f"port {port} is impossible"):
        bind("127.0.0.1", port)


def test_ctrl_c_ends_it_quietly_though_a_visitor_is_there() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        url = httpx.URL(program.stdout.readline().strip())
        with visit(f"{url.host}:{url.port}", origin=f"http://{url.host}:{url.port}") as visitor:
            assert visitor.ask({"action": 1})["frame"] == 1
            program.send_signal(signal.SIGINT)
            out, errors = program.communicate(timeout=20)
    assert (program.returncode, out, errors) == (0, "done\n", "")
