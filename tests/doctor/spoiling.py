"""Files spoiled at random, and a watch over whatever is run or written while they are read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from terrarium.doctor.readers.config_files import read_config

MOST_SECONDS = 20.0
"""Of one example, on a busy machine; a quiet one takes some milliseconds."""

STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen")
LOADS = ("pickle.find_class", "ctypes.dlopen", "socket.connect", "shutil.rmtree", "os.remove")

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 2**62, 2**63 - 1, 2**64 - 1]
WORDS = [
    b"nan",
    b"-inf",
    b"1e999",
    b"null",
    b'"',
    b"{",
    b"[",
    b"]",
    b"}",
    b",",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"\x80.",
]

_watching: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in STARTS or event in LOADS or (writes and "__pycache__" not in str(arguments[0])):
        _watching.append(f"{event} {arguments}"[:200])


sys.addaudithook(_hook)


@contextmanager
def nothing_is_run() -> Iterator[None]:
    """Fails if within it a program is started, a pickle's global is fetched, or a file is written."""
    global _watching  # noqa: PLW0603 - an audit hook can't be taken away again, only told to rest
    seen: list[str] = []
    _watching = seen
    try:
        yield
    finally:
        _watching = None
    assert not seen, seen


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with up to six changes: cut, overwritten, doubled, exchanged, grown."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.sampled_from([1, 2, 4, 8, 32, 300]))
        match draw(st.sampled_from(["bit", "number", "word", "cut", "drop", "double", "swap", "noise"])):
            case "bit" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "number":
                number = draw(st.sampled_from(EXTREMES)).to_bytes(8, draw(st.sampled_from(["little", "big"])))
                data[at : at + size] = number[: min(size, 8)]
            case "word":
                data[at : at + draw(st.sampled_from([0, size]))] = draw(st.sampled_from(WORDS))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "swap":
                other = draw(st.integers(0, max(0, len(data) - 1)))
                data[at : at + size], data[other : other + size] = (
                    data[other : other + size],
                    data[at : at + size],
                )
            case "noise":
                data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
    return bytes(data)


def examined(path: Path, content: bytes, look: Callable[[Path], object], what: Path) -> None:
    """Write content to a path and look at what lies there: quickly, and without running anything of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    begun = time.monotonic()
    with nothing_is_run():
        look(what)
    assert time.monotonic() - begun < MOST_SECONDS


def config_or_refusal(path: Path) -> None:
    with suppress(ValueError):
        read_config(path)
