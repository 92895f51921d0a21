"""Numbers and names as they read on the page."""

from __future__ import annotations

import pytest

from terrarium.doctor.language import Language, fill
from terrarium.doctor.page_html import finished
from terrarium.doctor.page_markdown import escape
from terrarium.doctor.wording import figure, fixed, plain

ENGLISH, CHINESE = Language.choose("en"), Language.choose("zh")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0015314, "0.001531"),
        (5.68081, "5.681"),
        (50343.0, "50,343"),
        (12345.67, "12,346"),
        (-0.5, "−0.5"),
        (float("nan"), "nan"),
        (1.7e308, "1.7e+308"),
    ],
)
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.25, "0.2 s"),
        (42, "42 s"),
        (754, "12 min 34 s"),
        (674_640, "7 d 19 h"),
        (3600, "1 h 0 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert ENGLISH.duration(seconds) == text


def test_small_words() -> None:
    assert ENGLISH.share(0.482) == "48.2 %"
    assert [ENGLISH.listed(words) for words in (["a"], ["a", "b", "c"], [])] == ["a", "a, b and c", ""]
    assert CHINESE.listed(["甲", "乙", "丙"]) == "甲、乙和丙"
    assert fixed(-3.14159) == "−3.14"


def test_names_from_files_become_one_short_line() -> None:
    assert plain("a\nb\u202ec\x00") == "a b c"
    assert plain("x" * 1000, 10) == "xxxxxxxxx…"
    assert plain("中文") == "中文"


def test_markdown_is_escaped_but_stays_readable() -> None:
    assert escape("<b>|x|</b> [a](b)\n# `") == "&lt;b&gt;\\|x\\|&lt;/b&gt; \\[a\\](b) \\# \\`"
    assert escape("see `--follow`") == "see `--follow`"
    assert escape("`<b>`") == "\\`&lt;b&gt;\\`"
    assert escape("footage/vizdoom_basic") == "footage/vizdoom_basic"
    assert escape(3) == 3


def test_numbers_keep_their_units_and_html_is_escaped() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert finished("52.1 % of 26.4 frames/s") == f"52.1{space}% of 26.4{space}frames/s"
    assert finished("5 seconds") == "5 seconds"
    assert finished("<b> `--follow` & more") == "&lt;b&gt; <code>--follow</code> &amp; more"


def test_chinese_and_latin_stand_apart_and_chinese_stands_together() -> None:
    assert CHINESE.listed(["潜在动作", "dynamics"]) == "潜在动作和 dynamics"
    assert CHINESE.listed(["视频 tokenizer", "潜在动作", "评分"]) == "视频 tokenizer、潜在动作和评分"
    assert fill("本阶段用 {upstream} 的结果", {"upstream": "潜在动作"}) == "本阶段用潜在动作的结果"
    assert fill("{flaw}的 {count} 个", {"flaw": "L1", "count": 24}) == "L1 的 24 个"
    assert fill("{what} as it was", {"what": "loss"}) == "loss as it was"
    assert CHINESE.capital("loss 发散") == "loss 发散"
    assert ENGLISH.capital("the loss") == "The loss"
