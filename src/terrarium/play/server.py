"""The application behind `terrarium play`: a page, a WebSocket, and a health check."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

from terrarium.errors import PlayError
from terrarium.play.origins import Addresses, OriginGuard
from terrarium.play.protocol import (
    CLOSE_IDLE,
    CLOSE_MALFORMED,
    FarewellError,
    MalformedMessageError,
    Reset,
    error_json,
    parse_request,
)
from terrarium.play.sessions import PlayableWorld, Session, Sessions, Starts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/play.js": ("play.js", "text/javascript"),
    "/keys.js": ("keys.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
MALFORMED_IN_A_ROW = 20


def create_app(
    world: PlayableWorld,
    starts: Sequence[NDArray[np.uint8]],
    *,
    labels: Sequence[str] = (),
    title: str = "",
    port: int,
    max_sessions: int = 4,
    idle_seconds: float = 300,
) -> FastAPI:
    """The application that serves one world to several visitors.

    The messages are those of `terrarium.play.protocol`.

    Args:
        world: forked for every visitor, never stepped itself.
        starts: held-out clips, each frames_THWC uint8 RGB; sessions and resets take them in turn.
        labels: one per latent code, such as "0 ~ MOVE_LEFT 71 %"; empty if nothing is known about them.
        title: what the page calls the world.
        port: the loopback names are answered at this port; `serve` adds the address that it binds.
        max_sessions: visitors at once, >= 1; others get a message and are closed with code 1013.
        idle_seconds: a visitor silent for this long is closed with code 4008.

    Raises:
        PlayError: there are no starts, or starts or labels don't fit the world.
    """
    if labels and len(labels) != world.actions:
        raise PlayError(
            f"{len(labels)} labels for {world.actions} latent actions", "Run `terrarium evaluate` again"
        )
    sessions = Sessions(world, Starts(starts, world), max_sessions=max_sessions)
    addresses = Addresses(port)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        sessions.close()

    # No generated API pages: they load scripts from other sites, which the page's policy forbids.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.addresses = addresses
    app.add_middleware(OriginGuard, addresses=addresses)
    # An explicit table instead of a static folder, so that no other file can be requested.
    for path, (name, media_type) in PAGE_FILES.items():
        app.add_route(path, _page_file(name, media_type), methods=["GET"])

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "sessions": sessions.open, "max_sessions": sessions.max_sessions}

    greeting = json.dumps({"world": _describe(world, labels, title)})

    @app.websocket("/play")
    async def play(websocket: WebSocket) -> None:
        await websocket.accept()
        await _visit(websocket, sessions, greeting, idle_seconds)

    return app


def _page_file(name: str, media_type: str) -> Callable[[Request], Awaitable[FileResponse]]:
    async def page_file(_request: Request) -> FileResponse:
        return FileResponse(PAGE / name, media_type=media_type)

    return page_file


def _describe(world: PlayableWorld, labels: Sequence[str], title: str) -> dict[str, Any]:
    return {
        "title": title,
        "actions": world.actions,
        "labels": list(labels),
        "height": world.height,
        "width": world.width,
        "context_frames": world.context_frames,
        "frames_per_second": world.frames_per_second,
    }


async def _visit(websocket: WebSocket, sessions: Sessions, greeting: str, idle_seconds: float) -> None:
    """One visit from start to end; the session is freed however it ends."""
    try:
        try:
            async with sessions.admit() as session:
                await websocket.send_text(greeting)
                await _converse(websocket, sessions, session, idle_seconds)
        except FarewellError as farewell:
            await websocket.send_text(error_json(farewell.reason))
            await websocket.close(farewell.code)
    except WebSocketDisconnect:
        pass


async def _converse(websocket: WebSocket, sessions: Sessions, session: Session, idle_seconds: float) -> None:
    await websocket.send_text((await sessions.run(session.reset)).to_json())
    malformed = 0
    while malformed < MALFORMED_IN_A_ROW:
        message = await _receive(websocket, idle_seconds)
        try:
            request = parse_request(message, session.actions)
        except MalformedMessageError as error:
            malformed += 1
            await websocket.send_text(error_json(str(error)))
            continue
        malformed = 0
        work = session.reset if isinstance(request, Reset) else partial(session.step, request.code)
        await websocket.send_text((await sessions.run(work)).to_json())
    raise FarewellError(CLOSE_MALFORMED, f"{malformed} malformed messages in a row")


async def _receive(websocket: WebSocket, idle_seconds: float) -> str | bytes:
    try:
        async with asyncio.timeout(idle_seconds):
            message = await websocket.receive()
    except TimeoutError:
        raise FarewellError(CLOSE_IDLE, f"nothing heard for {idle_seconds:g} seconds") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | None = message.get("text")
    return message["bytes"] if text is None else text
