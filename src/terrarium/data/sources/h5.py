"""Frames out of a TinyWorlds `*_frames.h5`: one dataset "frames" of N H W 3, uint8.

Files are not trusted: "frames" must lie in the file itself (links and virtual or external storage could name
any other file), and be plain bytes of a bounded shape.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from terrarium.data.sources.decode import MAX_PIXELS
from terrarium.data.sources.pixels import Size, to_frame
from terrarium.data.sources.scenes import Reading, Shot, UnreadableFootageError
from terrarium.errors import MissingExtraError

SUFFIXES = frozenset({".h5", ".hdf5"})
BLOCK_BYTES = 32 << 20  # read at a time
MAX_CHUNK_BYTES = 1 << 30  # HDF5 unpacks whole chunks, so a small file could ask for any amount of memory
MAX_FRAMES = 1 << 32


def read_h5(path: Path, size: Size, reading: Reading) -> Iterator[Shot]:
    """Read every frame of a file; it holds no times, so frames are not resampled.

    Args:
        path: the file.
        size: height and width of the frames.
        reading: gets the progress, and what was wrong with a file that breaks off.

    Raises:
        MissingExtraError: h5py is not installed.
        UnreadableFootageError: before the first frame only; later trouble ends the stream and leaves a note.
    """
    require_h5py()
    import h5py

    count = 0
    try:
        with h5py.File(path, "r") as file:
            frames_NHWC = _frames(file, h5py)
            for block in _blocks(frames_NHWC):
                for picture in block:
                    yield Shot(to_frame(picture, size))
                    count += 1
                reading.position = count / len(frames_NHWC)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if count == 0:
            raise UnreadableFootageError("it is not a readable HDF5 file") from error
        reading.note = f"it breaks off after {count} frames"


def require_h5py() -> None:
    """Make sure that HDF5 files can be read.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtraError("h5py", "h5")


def _frames(file: Any, h5py: Any) -> Any:
    link = file.get("frames", getlink=True)
    if link is None:
        raise UnreadableFootageError('it has no dataset "frames"')
    if not isinstance(link, h5py.HardLink) or not isinstance(file["frames"], h5py.Dataset):
        raise UnreadableFootageError('its "frames" is a link or a group, not a dataset')
    frames_NHWC = file["frames"]
    if frames_NHWC.is_virtual or frames_NHWC.external:
        raise UnreadableFootageError('its "frames" lie in another file')
    _check_shape(frames_NHWC)
    return frames_NHWC


def _check_shape(frames_NHWC: Any) -> None:
    shape = frames_NHWC.shape
    if frames_NHWC.dtype != "uint8" or shape is None or len(shape) != 4 or shape[3] not in {1, 3, 4}:
        raise UnreadableFootageError(
            f'its "frames" are {frames_NHWC.dtype} of shape {shape}, not uint8 of N H W 3'
        )
    count, height, width, _ = shape
    if count == 0 or height * width == 0:
        raise UnreadableFootageError("it has no frames")
    pieces = frames_NHWC.chunks or ()
    if count > MAX_FRAMES or height * width > MAX_PIXELS or math.prod(pieces) > MAX_CHUNK_BYTES:
        raise UnreadableFootageError(f'its "frames" are too large: {shape}, in pieces of {pieces}')


def _blocks(frames_NHWC: Any) -> Iterator[Any]:
    count, *rest = frames_NHWC.shape
    step = max(1, BLOCK_BYTES // math.prod(rest))
    for start in range(0, count, step):
        yield frames_NHWC[start : start + step]
