"""Numbers and names as they read on the page."""

from __future__ import annotations

import pytest

from terrarium.doctor.page_html import unbroken
from terrarium.doctor.page_markdown import escape
from terrarium.doctor.wording import caption, counted, duration, figure, listed, plain, share


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
    assert duration(seconds) == text


def test_small_words() -> None:
    assert share(0.482) == "48.2 %"
    assert (counted(1, "stage"), counted(2000, "step")) == ("1 stage", "2,000 steps")
    assert (listed(["a"]), listed(["a", "b", "c"]), listed([])) == ("a", "a, b and c", "")


def test_names_from_files_become_one_short_line() -> None:
    assert plain("a\nb\u202ec\x00") == "a b c"
    assert plain("x" * 1000, 10) == "xxxxxxxxx…"
    assert plain("中文") == "中文"


def test_captions_say_what_is_seen() -> None:
    words = caption("recon_rollout", 1200, "late", 8, ["truth", "model"] * 2)
    assert words == (
        "Recon rollout, latest, step 1,200. Rows from the top: truth, model, and so on. "
        "Time runs to the right over 8 frames."
    )
    assert caption("recon", 0, "only", 0, []) == "Recon, step 0."


def test_markdown_is_escaped_but_stays_readable() -> None:
    assert escape("<b>|x|</b> [a](b)\n# `c`") == "&lt;b&gt;\\|x\\|&lt;/b&gt; \\[a\\](b) \\# \\`c\\`"
    assert escape("footage/vizdoom_basic") == "footage/vizdoom_basic"
    assert escape(3) == 3


def test_numbers_keep_their_units() -> None:
    assert unbroken("52.1 % of 26.4 frames/s") == "52.1\N{NO-BREAK SPACE}% of 26.4\N{NO-BREAK SPACE}frames/s"
    assert unbroken("5 seconds") == "5 seconds"
