"""A real browser for tests of pages: Chromium without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")


@dataclass
class Opened:
    """A page, and what happened in it. Any: playwright is not installed everywhere."""

    page: Any
    problems: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and exceptions of scripts."""
    requests: list[str] = field(default_factory=list)
    """Addresses of everything that was asked for."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the system's browser, or the one that playwright brings. Any: a browser of playwright."""
    with playwright.sync_playwright() as driver:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=sandbox)
        except playwright.Error as error:
            if "Executable doesn't exist" in str(error):
                pytest.skip("there is no browser: install chromium, or run playwright install chromium")
            raise
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, address: str, *, width: int = 1280, **context: Any) -> Iterator[Opened]:
    """Open an address in a window of its own. Any: a browser of playwright, and settings of its contexts."""
    window = browser.new_context(viewport={"width": width, "height": 900}, **context)
    try:
        found = Opened(window.new_page())
        found.page.on("console", lambda message: _note(found, message))
        found.page.on("pageerror", lambda error: found.problems.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(address)
        yield found
    finally:
        window.close()


def _note(found: Opened, message: Any) -> None:
    if message.type in ("error", "warning"):
        found.problems.append(message.text)
