"""The socket behind `terrarium play`: bound before it is announced, with limits, without log noise."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from terrarium.errors import PlayError
from terrarium.play.origins import authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

log = logging.getLogger(__name__)

# Too long messages get an answer up to this size; above it the socket is closed unread (code 1009).
SOCKET_MESSAGE_BYTES = 4096
CONNECTIONS = 64
WILDCARDS = {"", "0.0.0.0", "::", "*"}  # noqa: S104 - they are named in order to be refused


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket at one address of this machine.

    Args:
        host: a name or an address; not a wildcard, because the Host of requests has to be known to be
            checked.
        port: 0 lets the system choose.

    Raises:
        PlayError: the port is taken or forbidden, or the address isn't this machine's.
    """
    if host in WILDCARDS:
        raise PlayError(f"host {host!r} stands for every address", "Name the one that visitors will type")
    if not 0 <= port <= 65535:
        raise PlayError(f"port {port} is impossible", "Choose one between 1024 and 65535 with --port")
    listening: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except (OSError, ValueError) as error:  # ValueError: an impossible host name
        if listening is not None:
            listening.close()
        raise _bind_error(error, host, port) from error
    return listening


def _bind_error(error: OSError | ValueError, host: str, port: int) -> PlayError:
    cause = error.errno if isinstance(error, OSError) else None
    other = port + 1 if 1024 <= port < 65535 else 8400
    if cause == errno.EADDRINUSE:
        return PlayError(f"port {port} is already in use on {host}", f"Choose another one: --port {other}")
    if cause == errno.EACCES:
        return PlayError(f"port {port} is not open to ordinary users", f"Choose another one: --port {other}")
    return PlayError(
        f"can't listen on {host!r} ({getattr(error, 'strerror', error)})", "Leave --host out to use 127.0.0.1"
    )


def make_server(app: FastAPI) -> uvicorn.Server:
    """The uvicorn server of an app from `create_app`, quiet and with its limits set."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_max_size=SOCKET_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # PNGs don't shrink, and no message may expand on arrival
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )


def serve(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8400, announce: Callable[[str], None]
) -> None:
    """Serve an app from `create_app` until Ctrl-C.

    Args:
        app: what to serve; its allowed Host and Origin are extended to ``host`` and ``port``.
        host: by default this machine alone can connect; another address opens the world to all who can reach
            it.
        port: 0 lets the system choose.
        announce: called once with the page's URL, when the socket is already listening.

    Raises:
        PlayError: the server can't listen at that address.
    """
    with bind(host, port) as listening:
        bound_port: int = listening.getsockname()[1]
        app.state.addresses.allow(host, bound_port)
        announce(f"http://{authority(host, bound_port)}/")
        try:
            make_server(app).run(sockets=[listening])
        except KeyboardInterrupt:
            log.debug("stopped by Ctrl-C")
