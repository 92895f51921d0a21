"""A real server on a real socket in a thread, and a visitor that speaks its protocol."""

from __future__ import annotations

import base64
import io
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from terrarium.play.listen import bind, make_server
from terrarium.play.origins import authority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from numpy.typing import NDArray


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve ``app`` on a port of the system's choice; yields host and port as they stand in a URL."""
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        app.state.addresses.allow("127.0.0.1", port)
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield authority("127.0.0.1", port)
        finally:
            server.should_exit = True
            thread.join()


class Visitor:
    """What one client sees; ``world`` and ``first`` are the greeting and frame 0."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.world = self.receive()
        self.first = self.receive() if "world" in self.world else {}

    def receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
        return answer

    def ask(self, request: object) -> dict[str, Any]:
        self.socket.send(request if isinstance(request, str | bytes) else json.dumps(request))
        return self.receive()


@contextmanager
def visit(address: str, **options: Any) -> Iterator[Visitor]:
    """Open the WebSocket at ``address``; ``options`` are those of websockets' ``connect``."""
    with connect(f"ws://{address}/play", proxy=None, **options) as socket:
        yield Visitor(socket)


def corner(answer: dict[str, Any]) -> tuple[int, int, int]:
    """What a `fake_world` frame says: (code, step, start)."""
    frame_HWC: NDArray[np.uint8] = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))
    code, step, start = (int(value) for value in frame_HWC[0, 0])
    return code, step, start
