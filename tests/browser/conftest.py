"""A real browser for the tests of pages: Debian's Chromium through Playwright.

A test fails when the page wrote an error to the console, broke in a script, or asked another host for anything.
"""

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.conftest import LiveStudio

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong


# Per module, not per session: Playwright's synchronous API keeps an event loop running in this thread, in which no test
# written with async could run.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium for a file of tests."""
    started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture
def context(browser: Browser, live_studio: LiveStudio) -> Iterator[BrowserContext]:
    """A fresh browser profile; relative addresses are the studio's."""
    opened = browser.new_context(base_url=live_studio.url, viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


_CUT = "Connection closed before receiving a handshake response"


class Complaints:
    """What a page did that no page may do. A test that provokes some of it clears them."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.found: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._add("console", message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self._add("script", str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self.own:
            self._add("request to another host", url)

    def _add(self, kind: str, text: str) -> None:
        if _CUT in text:  # a test dropped the sockets while one of them was being opened
            return
        self.found.append(f"{kind}: {text}")


@pytest.fixture
def complaints(live_studio: LiveStudio) -> Iterator[Complaints]:
    kept = Complaints(urlsplit(live_studio.url).netloc)
    yield kept
    assert kept.found == []


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Page:
    """A blank page of nobody."""
    opened = context.new_page()
    complaints.watch(opened)
    return opened


@pytest.fixture
def page_of(page: Page, context: BrowserContext, live_studio: LiveStudio) -> Callable[[User], Page]:
    """The page, signed in as somebody."""

    def sign_in(user: User) -> Page:
        client = Client()
        client.force_login(user)
        value = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": live_studio.url}])
        return page

    return sign_in
