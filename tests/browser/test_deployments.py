"""The endpoint's pages in a real browser: live, by keyboard, in both themes, and without JavaScript."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from deployments.models import Deployment, Endpoint, Environment, MetricSample
from studio.live import notify
from studio.models import LogStream, Workspace
from studio.services.logs import Line, append_lines
from tests.browser.conftest import Complaints
from tests.conftest import LiveStudio
from tests.deployments import world

pytestmark = pytest.mark.browser
E = "/w/harbour/endpoints/address-match/"
PageOf = Callable[[User], Page]


@pytest.fixture
def address_match(live_studio: LiveStudio, workspace: Workspace, bob: User) -> Endpoint:
    return world.make_address_match(workspace, now=timezone.now(), user=bob)


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    page.wait_for_load_state("networkidle")  # the refresh after the first connection is over
    return page


def test_the_page_tells_what_changed_without_a_reload(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = opened(page_of(bob), E)
    page.evaluate("window.same = true")
    expect(page.locator("#endpoint-head .truth")).to_contain_text("Scaling green.")
    failed = world.failed_rollout()
    Deployment.objects.filter(name="green").update(state=failed.state, observed=failed.to_json())
    notify(f"endpoint-{address_match.pk}")
    expect(page.locator("#endpoint-head .truth")).to_contain_text("Not answering.")
    expect(page.locator("#deployments")).to_contain_text("UserScriptInitFailed")
    assert page.evaluate("window.same") is True


def test_focus_stays_where_it_is_when_a_region_is_refreshed(
    address_match: Endpoint, page_of: PageOf, bob: User
) -> None:
    page = opened(page_of(bob), E)
    page.locator("#more-blue").focus()
    Deployment.objects.filter(name="blue").update(observed=world.healthy("blue-new").to_json())
    notify(f"endpoint-{address_match.pk}")
    expect(page.locator("#deployments")).to_contain_text("The replica is ready.")
    expect(page.locator("#more-blue")).to_be_focused()


def test_traffic_is_moved_in_its_dialog(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = opened(page_of(bob), E)
    page.get_by_role("button", name="Move traffic").first.click()
    page.get_by_label("blue", exact=True).fill("50")
    page.get_by_label("green", exact=True).fill("50")
    page.locator("#move-traffic").get_by_role("button", name="Move traffic").click()
    expect(page.locator("#traffic .split").first).to_have_attribute("aria-label", "blue 50 percent, green 50 percent")
    address_match.refresh_from_db()
    assert address_match.traffic == {"blue": 50, "green": 50}


def test_a_form_that_is_clicked_twice_is_sent_once(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = page_of(bob)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto("/w/harbour/environments/new")
    page.get_by_label("Name").fill("twice")
    page.get_by_label("Packages", exact=True).last.fill("numpy==2.3.5")
    page.get_by_role("button", name="Add environment").dblclick()
    expect(page.get_by_role("heading", level=1)).to_contain_text("twice")
    assert len(sent) == 1
    page.go_back()
    page.get_by_label("Name").fill("again")
    page.get_by_label("Packages", exact=True).last.fill("numpy==2.3.5")
    page.get_by_role("button", name="Add environment").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("again")
    assert sorted(each.name for each in Environment.objects.filter(name__in=("twice", "again"))) == ["again", "twice"]


def test_the_dialog_before_a_deletion_names_the_consequence_and_can_be_left(
    address_match: Endpoint, page_of: PageOf, bob: User
) -> None:
    page = opened(page_of(bob), E)
    page.locator("#more-endpoint").press("Enter")
    page.get_by_role("button", name="Delete address-match").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Its callers get 404 within a second, and its 3 deployments are deleted")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()
    address_match.refresh_from_db()
    assert address_match.deleting is False


def test_the_tabs_are_walked_with_the_arrow_keys(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = opened(page_of(bob), E)
    page.get_by_role("tab", name="Deployments").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Logs")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{E}logs/")
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")


def test_a_log_is_followed(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = opened(page_of(bob), f"{E}logs/?deployment=blue")
    expect(page.get_by_role("log").locator("li")).to_have_count(40)
    stream = LogStream.objects.get(label="blue-7c4, server")
    append_lines(stream, lines=[Line(at=timezone.now(), source="server", text="a line that just came")])
    expect(page.get_by_role("log")).to_contain_text("a line that just came")


def test_a_key_is_shown_and_hidden_and_the_snippets_follow(address_match: Endpoint, page_of: PageOf, bob: User) -> None:
    page = opened(page_of(bob), f"{E}consume/")
    key = address_match.keys.get(name="primary").value
    assert key not in page.content()
    page.get_by_role("button", name="Show the primary key").click()
    expect(page.locator("code", has_text="curl -sS")).to_contain_text(key)
    page.get_by_role("link", name="Hide").click()
    expect(page.get_by_role("button", name="Show the primary key")).to_be_visible()
    expect(page.locator("code", has_text="curl -sS")).to_contain_text("$SLIPWAY_KEY")
    assert key not in page.content()


def test_charts_are_drawn_follow_the_measurements_and_the_theme(
    address_match: Endpoint, page_of: PageOf, bob: User
) -> None:
    page = opened(page_of(bob), f"{E}metrics/?deployment=blue&span=15m")
    page.locator("#charts[data-drawn]").wait_for()
    expect(page.locator(".main-svg").first).to_be_visible()
    assert page.locator("[data-chart=requests] .scatterlayer .trace").count() >= 1
    line = "() => document.querySelector('[data-chart=requests] [data-area]').data[0].line.color"
    before = page.evaluate(line)
    page.get_by_role("button", name="Change between light and dark").click()
    page.wait_for_function(f"before => ({line})() !== before", arg=before)
    drawn = int(page.locator("#charts").get_attribute("data-drawn") or 0)
    blue = Deployment.objects.get(name="blue")
    newest = MetricSample.objects.filter(deployment=blue).latest("at")
    newest.pk, newest.at, newest.ok = None, timezone.now(), 99_999
    newest.save()
    notify(f"endpoint-{address_match.pk}-metrics")
    page.wait_for_function("drawn => Number(document.getElementById('charts').dataset.drawn) > drawn", arg=drawn)


def test_a_decision_of_the_list_is_shown_in_the_chart_by_keyboard(
    address_match: Endpoint, page_of: PageOf, bob: User
) -> None:
    page = opened(page_of(bob), f"{E}metrics/?deployment=blue&span=1h")
    page.locator("#charts[data-drawn]").wait_for()
    page.locator("[data-mark]").first.focus()
    expect(page.locator("[data-chart=replicas] .hoverlayer")).to_contain_text("3 to 4: load 76 %")


def test_metrics_that_nobody_reported_are_not_drawn_as_zero(
    live_studio: LiveStudio, workspace: Workspace, bob: User, page_of: PageOf
) -> None:
    target = world.make_target(workspace)
    world.make_endpoint(workspace, target=target, name="quiet")
    page = opened(page_of(bob), "/w/harbour/endpoints/quiet/metrics/")
    page.locator("#charts[data-drawn]").wait_for()
    expect(page.locator("[data-chart=requests] [data-now]")).to_have_text("not reporting")
    data = page.evaluate("document.querySelector('[data-chart=requests] [data-area]').data[0].y")
    assert set(data) == {None}


def test_wrong_fields_of_a_deployment_are_reached_from_the_summary(
    address_match: Endpoint, page_of: PageOf, bob: User, tmp_path: Path, complaints: Complaints
) -> None:
    (tmp_path / "score.py").write_bytes(world.SCORE)
    page = opened(page_of(bob), f"{E}deployments/new")
    page.get_by_label("Name").fill("amber")
    page.get_by_label("Environment", exact=True).select_option("torch-cpu:4")
    page.get_by_label("Code").set_input_files(tmp_path / "score.py")
    page.get_by_label("Most replicas").fill("0")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.get_by_role("button", name="Deploy", exact=True).click()
    assert answered.value.status == 422
    page.get_by_role("link", name="Most replicas").click()
    expect(page.get_by_label("Most replicas")).to_be_focused()
    page.get_by_label("Most replicas").fill("4")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(re.compile(r"/w/harbour/operations/[0-9a-f-]{36}/"))
    code = Deployment.objects.get(name="amber").code
    assert code is not None
    assert [file["path"] for file in code.files] == ["score.py"]
    complaints.found.clear()  # Chromium counts the 422 as an error of the page


def test_a_deployment_is_made_without_javascript(
    address_match: Endpoint, live_studio: LiveStudio, browser: Browser, bob: User, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_bytes(world.SCORE)
    context = browser.new_context(base_url=live_studio.url, java_script_enabled=False)
    client = Client()
    client.force_login(bob)
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": live_studio.url}])
    page = context.new_page()
    page.goto(f"{E}deployments/new")
    page.get_by_label("Name").fill("amber")
    page.get_by_label("Environment", exact=True).select_option("torch-cpu:4")
    page.get_by_label("Code").set_input_files(tmp_path / "score.py")
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(re.compile(r"/w/harbour/operations/[0-9a-f-]{36}/"))
    assert Deployment.objects.filter(name="amber").exists()
    context.close()
