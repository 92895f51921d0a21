"""The page in a real browser: what a visitor sees, presses and gets."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fake_world import LABELS, NO_ACTION, FakeWorld, make_starts
from headless_browser import headless_chromium
from playwright.sync_api import expect
from running_server import running

from terrarium.play import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

SLOW = 2  # frames/s: a key that is pressed and let go takes one step, even on a busy machine
CORNER = "() => [...document.getElementById('screen').getContext('2d').getImageData(1, 1, 1, 1).data]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless_chromium() as chromium:
        yield chromium


@contextmanager
def visiting(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A visitor at the page, connected, at a slow pace; fails if the browser reported any error."""
    context = browser.new_context(**options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(f"http://{address}/")
    expect(page.locator("html")).to_have_attribute("data-state", "connected")
    set_pace(page, SLOW)
    try:
        yield page
        assert not complaints
    finally:
        context.close()


@pytest.fixture
def address() -> Iterator[str]:
    app = create_app(FakeWorld(), make_starts(), labels=LABELS, title="Fake <b>world</b>", port=0)
    with running(app) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with visiting(browser, address) as page:
        yield page


def set_pace(page: Page, pace: int) -> None:
    page.select_option("#pace", str(pace))
    page.evaluate("document.activeElement.blur()")


def corner(page: Page) -> list[int]:
    """What the canvas shows: [code, step, start]."""
    rgba: list[int] = page.evaluate(CORNER)
    return rgba[:3]


def expect_frame(page: Page, frame: int) -> None:
    expect(page.locator("#frame")).to_have_text(str(frame))


def expect_frames_beyond(page: Page, frame: int) -> None:
    """Wait for more; the page's policy forbids `wait_for_function`, which evaluates text in the page."""
    deadline = time.monotonic() + 10
    while int(page.locator("#frame").inner_text()) <= frame:
        assert time.monotonic() < deadline, "the world stands still"
        page.wait_for_timeout(20)


def test_the_page_opens_on_a_held_out_frame(page: Page) -> None:
    expect(page).to_have_title("Fake <b>world</b> · Terrarium")
    expect(page.locator("h1")).to_have_text("Fake <b>world</b>")
    expect(page.locator("#status")).to_have_text("Connected")
    expect_frame(page, 0)
    assert corner(page) == [NO_ACTION, 0, 0]
    assert page.evaluate("getComputedStyle(document.getElementById('screen')).imageRendering") == "pixelated"


def test_each_key_takes_one_step(page: Page) -> None:
    keys = [("ArrowLeft", 2), ("3", 2), ("d", 0), ("Space", 1), ("a", 2), ("5", 4), ("ArrowRight", 0)]
    for frame, (key, code) in enumerate(keys, 1):
        page.keyboard.press(key)
        expect_frame(page, frame)
        assert corner(page) == [code, frame, 0]


def test_buttons_keys_and_reset_in_one_visit(page: Page) -> None:
    page.get_by_role("button", name="Attack").click()
    expect_frame(page, 1)
    assert corner(page) == [1, 1, 0]
    page.keyboard.press("Space")  # the button must not have kept the focus
    expect_frame(page, 2)
    assert corner(page) == [1, 2, 0]
    page.keyboard.press("r")
    expect_frame(page, 0)
    assert corner(page) == [NO_ACTION, 0, 1]
    page.get_by_role("button", name="Start again").click()
    page.wait_for_timeout(300)
    assert corner(page) == [NO_ACTION, 0, 0]


def test_a_button_works_from_the_keyboard(page: Page) -> None:
    page.get_by_role("button", name="Noop").focus()
    page.keyboard.press("Enter")
    expect_frame(page, 1)
    assert corner(page) == [3, 1, 0]
    page.wait_for_timeout(600)
    expect_frame(page, 1)


def test_a_held_key_keeps_stepping_and_the_world_stands_still_without(page: Page) -> None:
    set_pace(page, 30)
    page.keyboard.down("ArrowLeft")
    expect(page.locator(".action.active .name")).to_have_text("Move left")
    expect_frames_beyond(page, 4)
    assert float(page.locator("#rate").inner_text()) > 0
    page.keyboard.up("ArrowLeft")
    expect(page.locator(".action.active")).to_have_count(0)
    page.wait_for_timeout(150)
    still = page.locator("#frame").inner_text()
    page.wait_for_timeout(250)
    expect(page.locator("#frame")).to_have_text(still)
    assert corner(page) == [2, int(still), 0]
    assert page.locator("#model").inner_text().endswith(" ms")
    assert page.locator("#trip").inner_text().endswith(" ms")
    expect(page.locator("#rate")).to_have_text("still")


def test_keep_running_idles_with_the_chosen_code(page: Page) -> None:
    expect(page.locator("#idle")).to_have_value("3")  # NOOP, by its label
    set_pace(page, 30)
    page.locator("#running").check()
    expect_frames_beyond(page, 4)
    assert corner(page)[0] == 3
    page.select_option("#idle", "0")
    expect_frames_beyond(page, int(page.locator("#frame").inner_text()) + 2)
    assert corner(page)[0] == 0


def test_the_pace_is_kept(page: Page) -> None:
    set_pace(page, 10)
    page.keyboard.down("1")
    page.wait_for_timeout(1000)
    assert 4 <= float(page.locator("#rate").inner_text()) <= 13  # late frames are made up for
    assert int(page.locator("#frame").inner_text()) <= 16


def test_two_visitors_at_once(browser: Browser, page: Page, address: str) -> None:
    with visiting(browser, address) as other:
        assert corner(other) == [NO_ACTION, 0, 1]
        other.keyboard.press("1")
        page.keyboard.press("2")
        expect_frame(other, 1)
        expect_frame(page, 1)
        assert corner(other) == [0, 1, 1]
        assert corner(page) == [1, 1, 0]


def test_arrows_go_by_position_where_nothing_is_known(browser: Browser) -> None:
    with (
        running(create_app(FakeWorld(), make_starts(), port=0)) as address,
        visiting(browser, address) as page,
    ):
        expect(page.locator("#explanation")).to_contain_text("first four codes")
        for frame, (key, code) in enumerate([("ArrowLeft", 0), ("d", 1), ("w", 2), ("ArrowDown", 3)], 1):
            page.keyboard.press(key)
            expect_frame(page, frame)
            assert corner(page) == [code, frame, 0]


def test_a_full_world_says_so_and_reconnect_gets_in_later(browser: Browser) -> None:
    with running(create_app(FakeWorld(), make_starts(), port=0, max_sessions=1)) as address:
        context = browser.new_context()
        second = context.new_page()
        with visiting(browser, address):
            second.goto(f"http://{address}/")
            expect(second.locator("html")).to_have_attribute("data-state", "disconnected")
            expect(second.locator("#reason")).to_contain_text("one visitor at a time")
        second.get_by_role("button", name="Reconnect").click()
        expect(second.locator("#status")).to_have_text("Connected")
        expect_frame(second, 0)
        context.close()


def test_an_idle_visitor_may_come_back_and_finds_the_pace_kept(browser: Browser) -> None:
    app = create_app(FakeWorld(), make_starts(), port=0, idle_seconds=2)
    with running(app) as address, visiting(browser, address) as page:
        expect(page.locator("#reason")).to_have_text("Nothing heard for 2 seconds")
        page.get_by_role("button", name="Reconnect").click()
        expect(page.locator("#status")).to_have_text("Connected")
        expect(page.locator("#pace")).to_have_value(str(SLOW))
        assert corner(page) == [NO_ACTION, 0, 1]


def test_a_stopped_server_is_seen_at_once(browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    with running(create_app(FakeWorld(), make_starts(), port=0)) as address:
        page.goto(f"http://{address}/")
        expect(page.locator("#status")).to_have_text("Connected")
        page.keyboard.press("1")
        expect_frame(page, 1)
    expect(page.locator("#status")).to_have_text("Disconnected")
    expect(page.locator("#reason")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Reconnect")).to_be_focused()
    expect(page.locator(".action").first).to_be_disabled()
    page.keyboard.press("Enter")  # nobody there: the same state again, not an endless "Connecting"
    expect(page.locator("#status")).to_have_text("Disconnected")
    context.close()


def test_it_fits_a_phone_in_the_dark(browser: Browser, address: str) -> None:
    phone = {"width": 360, "height": 740}
    with visiting(browser, address, viewport=phone, color_scheme="dark", has_touch=True) as page:
        page.get_by_role("button", name="Move left").first.tap()
        expect_frame(page, 1)
        assert corner(page)[0] == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", background))) < 3 * 64
