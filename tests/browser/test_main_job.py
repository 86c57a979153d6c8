"""The main job in a real browser, on a whole Slipway: its own process, cluster, router and model servers."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect

from tests.browser.conftest import Complaints
from tests.callers import Callers
from tests.whole import MODELS, Slipway

pytestmark = pytest.mark.browser
SCORE = str(MODELS / "slow" / "score.py")
PICTURES = os.environ.get("SLIPWAY_TEST_PICTURES", "")  # a folder: pictures for the README are written there
DEPLOY_SECONDS = 120_000


@pytest.fixture
def context(browser: Browser, slipway: Slipway) -> Iterator[BrowserContext]:
    opened = browser.new_context(base_url=slipway.address, viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


@pytest.fixture
def complaints(slipway: Slipway) -> Iterator[Complaints]:
    kept = Complaints(urlsplit(slipway.address).netloc)
    yield kept
    assert kept.found == []


@pytest.fixture
def signed_in(page: Page, slipway: Slipway) -> Page:
    page.goto("/")
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password", exact=True).fill(slipway.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Endpoints", level=1)).to_be_visible()
    return page


def cut_log_sockets(page: Page) -> Callable[[], None]:
    """Passes the log's websockets on, and returns what cuts those that are open."""
    opened: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        opened.append(socket)

    page.route_web_socket(re.compile(r"/logs/\d+"), pass_on)

    def cut() -> None:
        assert opened, "the page has no log socket"
        for socket in opened:
            socket.close(code=1012)
        opened.clear()

    return cut


def numbers(page: Page) -> list[int]:
    found: list[int] = page.eval_on_selector_all("[role=log] li", "rows => rows.map((row) => Number(row.dataset.seq))")
    return found


def take_picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_a_model_is_deployed_by_the_form_followed_scored_and_its_key_rotated(
    signed_in: Page, slipway: Slipway, light: None
) -> None:
    page = signed_in
    cut = cut_log_sockets(page)
    make_endpoint(page, "browser")
    fill_deployment(page)
    page.get_by_role("button", name="Deploy", exact=True).click()

    expect(page.get_by_role("heading", name="Deploy blue to browser")).to_be_visible()
    expect(page.locator("[role=log] li").nth(3)).to_be_attached(timeout=DEPLOY_SECONDS)  # the log moves
    cut()
    expect(page.locator(".truth[data-s=ok]").first).to_be_visible(timeout=DEPLOY_SECONDS)
    expect(page.locator("[role=log]")).to_contain_text("slow model ready")
    seen = numbers(page)
    assert seen == list(range(1, len(seen) + 1))  # no gap, no repeat

    see_the_chart_draw(page, slipway)
    rotate_secondary(page)


def make_endpoint(page: Page, name: str) -> None:
    page.goto("/w/main/endpoints/new")
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("button", name=re.compile("Create|Make")).click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def fill_deployment(page: Page) -> None:
    page.goto("/w/main/endpoints/browser/deployments/new")
    page.get_by_role("textbox", name="Name").fill("blue")
    page.get_by_role("combobox", name="Environment").select_option("light:1")
    page.locator("input[type=file]").first.set_input_files(SCORE)
    page.locator("input[name=instance_type][value=small]").check()
    page.locator("[name='request_settings.max_queue_wait_ms']").fill("15000")


def see_the_chart_draw(page: Page, slipway: Slipway) -> None:
    """Under load the page shows three replicas and why, and the charts have lines and marks."""
    page.goto("/w/main/endpoints/browser/consume/")
    page.get_by_role("button", name="Show the primary key").click()
    shown = page.locator("table code").first
    expect(shown).to_have_text(re.compile(r"^[\w-]{43}$"))
    key = shown.text_content() or ""
    page.goto("/w/main/endpoints/browser/")
    with Callers(slipway.uri("browser"), key=key, together=6) as callers:
        expect(page.locator(".cells .cell:not([data-s=starting])")).to_have_count(3, timeout=DEPLOY_SECONDS)
        expect(page.locator(".feed").first).to_contain_text("1 to")
        callers.wait_for_answer()
        take_picture(page, "endpoint")
    page.goto("/w/main/endpoints/browser/metrics/")
    expect(page.locator(".plot .scatterlayer .trace path.js-line").first).to_be_attached()
    take_picture(page, "metrics")


def rotate_secondary(page: Page) -> None:
    page.goto("/w/main/endpoints/browser/consume/")
    page.get_by_role("button", name="Rotate secondary").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate secondary").click()
    expect(page.locator(".truth[data-s=ok]").first).to_be_visible()


def test_the_same_is_done_with_the_keyboard_alone(page: Page, slipway: Slipway, light: None) -> None:
    page.goto("/sign-in")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("admin")
    tab_to(page, "password")
    page.keyboard.type(slipway.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Endpoints", level=1)).to_be_visible()
    page.goto("/w/main/endpoints/new")
    tab_to(page, "name")
    page.keyboard.type("by-keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="by-keyboard", level=1)).to_be_visible()
    page.goto("/w/main/endpoints/by-keyboard/deployments/new")
    tab_to(page, "name")
    page.keyboard.type("blue")
    tab_to(page, "environment")
    page.keyboard.type("light:1")
    tab_to(page, "code_configuration.code")
    page.locator(":focus").set_input_files(SCORE)  # the chooser itself is the system's, not the page's
    tab_to(page, "wish")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Deploy blue to by-keyboard")).to_be_visible()
    expect(page.locator(".truth[data-s=ok]").first).to_be_visible(timeout=DEPLOY_SECONDS)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control with that HTML name has the focus."""
    for _ in range(80):
        if page.evaluate("document.activeElement.name") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached with Tab")
