"""Small videos, written with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 48, 64


def scene(seed: int, frames: int) -> list[NDArray[np.uint8]]:
    """A still world of coloured blocks with a white square that walks through it."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    world = colours.repeat(8, axis=0).repeat(8, axis=1)
    shots = [world.copy() for _ in range(frames)]
    for time, shot in enumerate(shots):
        left = time % (WIDTH - 8)
        shot[20:28, left : left + 8] = 255
    return shots


def write_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    rate: int = 30,
    milliseconds: Sequence[int] | None = None,
) -> Path:
    """Encode RGB frames as MPEG-4, at a steady rate or at the times given."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=rate if milliseconds is None else 1000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 4_000_000
        container.start_encoding()  # so that a video without frames is a file too
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number if milliseconds is None else milliseconds[number]
            picture.time_base = Fraction(1, rate if milliseconds is None else 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turn(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write into an MP4 how it is to be shown, as phones do: (x, y) at (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # of a track header of version 0
    unit = 1 << 16
    struct.pack_into(">9i", content, matrix, a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def jpeg(height: int, width: int, grey: int = 100) -> bytes:
    """A plain picture, as a packet of motion JPEG."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 10)
    picture = av.VideoFrame(width, height, "yuvj420p")
    for plane, value in zip(picture.planes, (grey, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def write_packets(path: Path, packets: Sequence[bytes]) -> Path:
    """A motion JPEG at 10 pictures a second that says 48x64, whatever its packets hold."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        container.start_encoding()
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            container.mux(packet)
    return path
