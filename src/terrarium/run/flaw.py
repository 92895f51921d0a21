"""How a damaged file is described: in words, and as a code."""

from __future__ import annotations

from terrarium.run import disk

UNREADABLE = (OSError, ValueError, MemoryError, RecursionError)
"""What reading an untrusted file may raise."""


class Flaw(Exception):  # noqa: N818 - a finding about a file, not an error of this program
    """What is wrong with a checkpoint: in words, and as a code (see `Judgement.flaw` in `verify`)."""

    def __init__(self, words: str, code: str = "damaged") -> None:
        super().__init__(words)
        self.code = code


def unread(name: str, error: BaseException) -> Flaw:
    """What is wrong with a file that could not be read: nothing that we know of where we may not read it."""
    if isinstance(error, OSError):
        code = "unreadable" if isinstance(error, PermissionError) else "damaged"
        return Flaw(f"{name} can't be read: {disk.why(error)}", code)
    words = str(error) or f"can't be read: {type(error).__name__}"
    return Flaw(f"{name} {words}")
