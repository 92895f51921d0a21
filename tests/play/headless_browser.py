"""A real headless Chromium for tests of pages; they are skipped, loudly, where there is none."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

EXECUTABLES = ("chromium", "google-chrome", "chromium-browser")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # containers forbid the sandbox; the only page opened is our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """The system's Chromium or Chrome; skips the test that asks when it finds none."""
    found = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if found is None:
        pytest.skip(f"NO BROWSER: none of {', '.join(EXECUTABLES)} is on PATH, so the page goes untested")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
