"""Frames out of a video file with PyAV, streamed and resampled in time.

Files are not trusted: only formats that contain the video itself are opened (a playlist could name other
files), only from the disk, and only up to a bounded picture size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from terrarium.data.sources.pixels import Size, to_frame
from terrarium.data.sources.scenes import Reading, Shot, UnreadableFootageError

T = TypeVar("T")

MAX_PIXELS = 8192 * 8192
MAX_GAP = 2.0  # seconds that the last picture may fill; a longer gap begins a new episode
NEAR = 1e-3  # seconds that a picture may be late, because containers round times
# FFmpeg's names for containers that hold video themselves.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,asf,ogg,nut,h264,hevc,m4v,ivf"
)
SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".gif"}
    | {".wmv", ".ogv", ".3gp", ".nut"}
)
BROKEN = (av.FFmpegError, ValueError, OSError, MemoryError, OverflowError)


def read_video(path: Path, rate: float, size: Size, reading: Reading) -> Iterator[Shot]:
    """Decode a file's first video stream.

    Args:
        path: the file.
        rate: frames per second to resample to, by the pictures' own times.
        size: height and width of the frames.
        reading: gets the progress, and what was wrong with a file that breaks off.

    Raises:
        UnreadableFootageError: before the first frame only; later trouble ends the stream and leaves a note.
    """
    count = 0
    try:
        with _open(path) as container:
            stream = _video_stream(container)
            for picture, begins in resample(_pictures(container, stream, path, reading), rate):
                yield Shot(to_frame(_rgb(picture), size), begins)
                count += 1
            reading.note = "; ".join(filter(None, (reading.note, _repeats(stream, rate))))
    except BROKEN as error:
        if count == 0:
            raise UnreadableFootageError(_reason(error)) from error
        reading.note = f"it breaks off after {count} frames: {_reason(error)}"
    if count == 0:
        raise UnreadableFootageError("it has no frames")


def resample(timed: Iterable[tuple[float, T]], rate: float) -> Iterator[tuple[T, bool]]:
    """Pictures at a steady rate: at each moment the one that was shown last, whatever the source's timing.

    Args:
        timed: (seconds, picture), at any rate, even a varying one.
        rate: pictures per second to yield.

    Yields:
        The picture, and whether time jumped before it (backwards, or by more than `MAX_GAP`).
    """
    shown: T | None = None
    begin = last = 0.0
    count = 0  # pictures yielded since `begin`, so that the next one is due at begin + count / rate
    for time, picture in timed:
        if shown is not None and 0 <= time - last <= MAX_GAP:
            while begin + count / rate < time - NEAR:
                yield shown, count == 0
                count += 1
        else:
            if shown is not None and begin + count / rate <= last + NEAR:
                yield shown, count == 0
            begin, count = time, 0
        shown, last = picture, time
    if shown is not None and begin + count / rate <= last + NEAR:
        yield shown, count == 0


def _open(path: Path) -> Any:
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(MAX_PIXELS)}
    return av.open(str(path.absolute()), options=options)


def _video_stream(container: Any) -> Any:
    if not container.streams.video:
        raise UnreadableFootageError("it has no video stream")
    stream = container.streams.video[0]
    _check_size(stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for pictures that grow during the stream
    stream.thread_type = "AUTO"
    return stream


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"its pictures have {width}x{height} pixels, at most {MAX_PIXELS} are read")


def _pictures(container: Any, stream: Any, path: Path, reading: Reading) -> Iterator[tuple[float, Any]]:
    """(seconds, picture) of every undamaged picture."""
    bytes_in_all = max(path.stat().st_size, 1)
    pause = 1 / float(stream.average_rate or 30)  # between pictures that carry no time
    time, first, damaged = -pause, None, 0
    for packet in container.demux(stream):
        reading.position = min((packet.pos or 0) / bytes_in_all, 1.0)
        for picture in _decoded(packet):
            time = time + pause if picture.time is None else float(picture.time)
            first = time if first is None else first
            if picture.is_corrupt:
                damaged += 1
            else:
                yield time, picture
    notes = [f"{damaged} of its pictures are damaged and left out"] if damaged else []
    promised, seconds = _seconds(container, stream), time - (first or 0.0)
    if first is not None and seconds + 0.5 < 0.9 * promised:
        notes.append(f"it ends after {seconds:.1f} of {promised:.1f} seconds")
    reading.note = "; ".join(notes)


def _decoded(packet: Any) -> Any:
    """The pictures of a packet.

    Raises:
        ValueError: FFmpeg refuses a picture; it gives the reason only in its log.
    """
    try:
        return packet.decode()
    except av.ArgumentError as error:
        raise ValueError(f"a picture is damaged, or has more than {MAX_PIXELS} pixels") from error


def _repeats(stream: Any, rate: float) -> str:
    """A note if the file has fewer pictures per second than asked for, else ""."""
    own = float(stream.average_rate or rate)
    return (
        f"it shows {own:.4g} pictures a second: at a rate of {rate:g} many frames repeat"
        if rate > own * 1.1
        else ""
    )


def _seconds(container: Any, stream: Any) -> float:
    """The duration that the file states, 0 if it doesn't."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / av.time_base


def _rgb(picture: Any) -> NDArray[np.uint8]:
    _check_size(picture.width, picture.height)
    frame_HWC: NDArray[np.uint8] = picture.to_ndarray(format="rgb24")
    matrix = picture.side_data.get("DISPLAYMATRIX")
    return frame_HWC if matrix is None else _upright(frame_HWC, np.frombuffer(matrix, np.int32))


def _upright(frame_HWC: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """A picture the right way up: phones store what the sensor saw, and separately how the phone was held.

    Args:
        frame_HWC: the picture as stored.
        matrix: the 9 numbers of FFmpeg's display matrix, row by row: a picture's (x, y) is shown at
            (a x + c y, b x + d y), where a, b, _, c, d are the first five.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):  # nearer to a quarter turn
        frame_HWC, a, d = frame_HWC.swapaxes(0, 1), c, b
    return frame_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError | av.FFmpegError) else str(error)
    return (text or type(error).__name__).rstrip(".")
