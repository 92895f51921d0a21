"""Who is answered: the Host and Origin of every request are checked, and every answer gets security headers.

A server on a loopback address is still within reach of every web page that the user has open: a page can
open a WebSocket to it (the Origin tells), or point a name of its own at 127.0.0.1 (the Host tells; this is
"DNS rebinding").

A missing Origin is let through: browsers always send one with a WebSocket, so its sender is a program on a
machine that can reach the address anyway, and such a program could send whatever Origin it liked.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The page belongs to this version of the package: a cached script must not meet a newer server.
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL: ``127.0.0.1:8400``, ``[::1]:8400``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Addresses:
    """The addresses that the server answers to; at first the loopback names."""

    def __init__(self, port: int) -> None:
        self._authorities: set[str] = set()
        for name in LOOPBACK_NAMES:
            self.allow(name, port)

    def allow(self, host: str, port: int) -> None:
        """Answer to ``host`` too, and if it is a loopback address to its synonyms."""
        for name in {host, *LOOPBACK_NAMES} if is_loopback(host) else {host}:
            self._authorities.add(authority(name.lower(), port))
            if port == 80:  # browsers omit the default port
                self._authorities.add(authority(name.lower(), port).removesuffix(":80"))

    def is_host(self, value: str) -> bool:
        """Whether a Host header is one of ours."""
        return value.lower() in self._authorities

    def is_origin(self, value: str) -> bool:
        """Whether an Origin header is one of ours; only plain HTTP is served."""
        return value.lower().startswith("http://") and self.is_host(value[len("http://") :])


class OriginGuard:
    """ASGI middleware that refuses other hosts and origins with 403, and adds the security headers."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        app = self._app if self._welcomes(scope) else _refuse
        return await app(scope, receive, _with_security_headers(send))

    def _welcomes(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._addresses.is_host(hosts[0]):
            return False
        return scope["type"] == "http" or (
            len(origins) <= 1 and all(self._addresses.is_origin(origin) for origin in origins)
        )


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return send_with_headers


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        # Closing before accepting is ASGI's way of answering 403 to a WebSocket.
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    refusal = PlainTextResponse("This server does not answer to that Host.\n", status_code=403)
    await refusal(scope, receive, send)
