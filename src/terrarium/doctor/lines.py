"""Lines in a terminal: Chinese may break between characters, but not before a comma or after a bracket."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from terrarium.doctor.wording import HAN

OPENING, CLOSING = "“‘（《「【", "，。；：、？！”’）》」】%"
WORD = rf"[^\s{HAN.pattern[1:-1]}{OPENING}{CLOSING}]+"
PART = re.compile(rf"[{OPENING}]*(?:{HAN.pattern}|{WORD})?[{CLOSING}]*\s*")


def in_lines(text: Text, width: int) -> Text:
    """The same text with line breaks where it has Chinese in it; else as it is, for Rich breaks at spaces.

    Args:
        text: one paragraph, with its styles.
        width: columns that a line may take; a Chinese character takes two.
    """
    if not HAN.search(text.plain):
        return text
    lines = text.divide(_breaks(text.plain, width))
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _breaks(text: str, width: int) -> Iterator[int]:
    """Where lines after the first one begin."""
    taken = 0
    for part in PART.finditer(text):
        if taken and taken + cell_len(part[0].rstrip()) > width:
            yield part.start()
            taken = 0
        taken += cell_len(part[0])
