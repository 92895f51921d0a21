"""What a visitor and the server say to each other: one JSON text per message, one answer per request.

Visitor:  ``{"action": 3}`` takes one step with latent code 3; ``{"reset": true}`` goes to the next start.
Server:   ``{"world": {...}}`` once, when a session opens, followed by frame 0; then for each request
          ``{"frame": 12, "milliseconds": 21.4, "frames_per_second": 40.1, "start": 0, "png": "<base64>"}``
          or ``{"error": "..."}``.

The picture travels inside the JSON, so that a frame and its numbers can't be paired wrongly; base64 adds a
third to some 5 kB, which doesn't matter on a loopback.
"""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MESSAGE_BYTES = 256
"""Longer messages are refused unread; the longest valid one has about 20 bytes."""

# Closing codes of RFC 6455, section 7.4.1, and one of our own (4000-4999 are free for applications).
CLOSE_MALFORMED = 1008
CLOSE_WORLD_FAILED = 1011
CLOSE_FULL = 1013
CLOSE_IDLE = 4008


class MalformedMessageError(ValueError):
    """A message that is neither of the two requests; its text is safe to send back."""


class FarewellError(Exception):
    """The server ends a session: the visitor is told ``reason`` and the socket closes with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Step:
    """Take one step with latent action ``code``, 0 <= code < number of actions."""

    code: int


@dataclass(frozen=True)
class Reset:
    """Begin again, at the next of the held-out starts."""


@dataclass(frozen=True)
class ShownFrame:
    """A frame on its way to a visitor.

    Attributes:
        frame: steps since the last reset; 0 is the last real frame of the start.
        milliseconds: how long the model took, not counting the wait for a turn.
        frames_per_second: the model's speed alone, over its last steps; None before the first step.
        start: which of the held-out starts this session began from.
        png: the picture, encoded.
    """

    frame: int
    milliseconds: float
    frames_per_second: float | None
    start: int
    png: bytes

    def to_json(self) -> str:
        """The frame as one JSON text, the picture in base64."""
        rate = self.frames_per_second
        return json.dumps(
            {
                "frame": self.frame,
                "milliseconds": round(self.milliseconds, 2),
                "frames_per_second": None if rate is None else round(rate, 2),
                "start": self.start,
                "png": base64.b64encode(self.png).decode("ascii"),
            }
        )


def parse_request(message: str | bytes, actions: int) -> Step | Reset:
    """Read one message of a visitor.

    Args:
        message: as received from the socket; binary messages are always refused.
        actions: the number of latent codes.

    Raises:
        MalformedMessageError: anything but the two requests above. Its text never repeats what was sent.
    """
    if isinstance(message, bytes):
        raise MalformedMessageError("messages are JSON text, not binary")
    if len(message.encode("utf-8", "surrogatepass")) > MESSAGE_BYTES:
        raise MalformedMessageError(f"messages have at most {MESSAGE_BYTES} bytes")
    try:
        request = json.loads(message)
    except (ValueError, RecursionError):
        raise MalformedMessageError("messages are JSON text") from None
    if not isinstance(request, dict) or len(request) != 1:
        raise MalformedMessageError('send {"action": code} or {"reset": true}')
    if request.get("reset") is True:
        return Reset()
    code = request.get("action")
    # bool is an int in Python, and {"action": true} must not be taken for code 1
    if type(code) is not int or not 0 <= code < actions:
        raise MalformedMessageError(
            f'send {{"action": code}}, code from 0 to {actions - 1}, or {{"reset": true}}'
        )
    return Step(code)


def encode_png(frame_HWC: NDArray[np.uint8]) -> bytes:
    """A frame (uint8 RGB) as PNG, encoded fast rather than small: it doesn't travel far."""
    with io.BytesIO() as buffer:
        Image.fromarray(frame_HWC).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def error_json(reason: str) -> str:
    """The answer to a request that can't be met."""
    return json.dumps({"error": reason})
