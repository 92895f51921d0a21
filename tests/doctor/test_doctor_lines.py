"""Chinese lines break between characters, never before a comma, and say the same."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from terrarium.doctor.lines import CLOSING, in_lines

WORDS = (
    "原因：很可能是素材里运动种类少（dynamics_step_44000，第 9,500 步），或“没有”任何项。"
    "它限制可控性，但不能解释 dynamics 的 loss 上升 12.5%。"
)


@pytest.mark.parametrize("width", range(25, 90, 3))
def test_lines_are_full_and_begin_with_no_comma(width: int) -> None:
    lines = in_lines(Text(WORDS), width).plain.split("\n")
    assert "".join(lines).replace(" ", "") == WORDS.replace(" ", "")
    assert max(map(cell_len, lines)) <= width
    assert not [line for line in lines if line[0] in CLOSING or line[-1] in "（“"]
    assert [cell_len(line) for line in lines[:-1] if cell_len(line) < width - 22] == []


def test_styles_stay_and_english_is_left_to_rich() -> None:
    text = Text("原因：", style="dim").append("太长", style="bold")
    broken = in_lines(text, 6)
    assert broken.plain == "原因：\n太长"
    assert any(str(span.style) == "bold" for span in broken.spans)
    english = Text("as long as it likes, and longer than that")
    assert in_lines(english, 5) is english
