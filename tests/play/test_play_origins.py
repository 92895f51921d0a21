"""Strangers at the door: Host and Origin, on the page and on the socket."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from fake_world import FakeWorld, make_starts
from running_server import running, visit
from websockets.exceptions import InvalidStatus

from terrarium.play import create_app
from terrarium.play.origins import Addresses, is_loopback

STRANGERS = [
    "http://evil.example",
    "http://evil.example:{port}",
    "http://localhost.evil.example:{port}",
    "http://localhost",
    "http://localhost:1",
    "https://localhost:{port}",
    "http://localhost:{port}.evil.example",
    "http://user@localhost:{port}",
    "http://localhost:{port}/",
    "null",
    "",
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(create_app(FakeWorld(), make_starts(), port=0)) as address:
        yield address


def get(address: str, path: str, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.get(f"http://{address}{path}", headers=headers)


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_strange_origin_opens_no_session(address: str, origin: str) -> None:
    headers = {"Origin": origin.format(port=port_of(address))}
    with pytest.raises(InvalidStatus, match="403"), visit(address, additional_headers=headers):
        pass


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_our_own_names_are_welcome(address: str, name: str) -> None:
    own = f"{name}:{port_of(address)}"
    with visit(address, additional_headers={"Origin": f"http://{own}"}) as visitor:
        assert visitor.first["frame"] == 0
    assert get(address, "/health", Host=own).status_code == 200


def test_a_program_without_an_origin_is_welcome(address: str) -> None:
    with visit(address) as visitor:
        assert visitor.first["frame"] == 0


def test_two_origins_are_one_too_many(address: str) -> None:
    own = f"http://{address}"
    headers = [("Origin", own), ("Origin", own)]
    with pytest.raises(InvalidStatus, match=r"400|403"), visit(address, additional_headers=headers):
        pass


@pytest.mark.parametrize("hosts", [0, 2])
def test_a_host_is_named_exactly_once(address: str, hosts: int) -> None:
    with socket.create_connection(("127.0.0.1", int(port_of(address))), timeout=5) as wire:
        wire.sendall(b"GET /health HTTP/1.0\r\n" + f"Host: {address}\r\n".encode() * hosts + b"\r\n")
        assert wire.recv(100).split()[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost", "localhost:1", "0.0.0.0:{port}"]
)
@pytest.mark.parametrize("path", ["/", "/health", "/play.js", "/nowhere"])
def test_a_rebound_name_gets_nothing(address: str, path: str, host: str) -> None:
    answer = get(address, path, Host=host.format(port=port_of(address)))
    assert answer.status_code == 403
    assert "Terrarium" not in answer.text


def test_a_rebound_name_opens_no_session(address: str) -> None:
    port = port_of(address)
    wire = socket.create_connection(("127.0.0.1", int(port)))
    with pytest.raises(InvalidStatus, match="403"), visit(f"evil.example:{port}", sock=wire):
        pass


@pytest.mark.parametrize("path", ["/", "/health", "/nowhere"])
def test_every_answer_carries_the_policy(address: str, path: str) -> None:
    headers = get(address, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/play.js", "text/javascript"),
        ("/keys.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_is_whole_and_needs_nothing_from_elsewhere(address: str, path: str, media_type: str) -> None:
    answer = get(address, path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].split(";")[0] == media_type
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+", answer.text.replace("http://www.w3.org/2000/svg", ""))


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/server.py", "/../server.py", "/%2e%2e/server.py", "/page/play.js"]
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert get(address, path).status_code == 404


def test_an_explicit_address_extends_the_allowed_ones() -> None:
    addresses = Addresses(8400)
    assert not addresses.is_host("192.168.1.5:8400")
    addresses.allow("192.168.1.5", 8400)
    assert addresses.is_host("192.168.1.5:8400")
    assert addresses.is_origin("http://192.168.1.5:8400")
    assert not addresses.is_host("192.168.1.6:8400")


def test_port_80_may_be_left_out() -> None:
    addresses = Addresses(80)
    assert addresses.is_host("localhost")
    assert addresses.is_origin("http://[::1]")
    assert not Addresses(8080).is_host("localhost")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.9.9.9", True), ("::1", True), ("LocalHost", True), ("10.0.0.1", False), ("example.org", False)],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
