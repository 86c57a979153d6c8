"""The frame of every page in a real browser: signing in, live regions, logs, menus and dialogs by keyboard."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from studio.actor import SLIPWAY
from studio.models import Membership, Operation, Workspace
from studio.services import operations
from studio.services.logs import Line, append_lines
from studio.services.operations import Cause, Step, Subject, start_operation
from tests.browser.conftest import Complaints
from tests.conftest import PASSWORD, LiveStudio

pytestmark = pytest.mark.browser
PageOf = Callable[[User], Page]


@pytest.fixture
def operation(workspace: Workspace) -> Operation:
    return start_operation(
        workspace,
        kind="deploy",
        title="Deploy blue to iris",
        subject=Subject("deployment", "12", "iris / blue"),
        task="tests.nothing",
        steps=[Step("image", "Image"), Step("probes", "Probes")],
        actor=SLIPWAY,
    )


def write(operation: Operation, *texts: str, level: str = "info") -> None:
    lines = [Line(at=timezone.now(), source="server", text=text, level=level) for text in texts]
    append_lines(operation.log, lines=lines)


def numbers(page: Page) -> list[int]:
    """Sequence numbers of the lines on the page, in order."""
    return page.eval_on_selector_all("[role=log] li", "rows => rows.map((row) => Number(row.dataset.seq))")  # type: ignore[no-any-return]


def open_operation(page: Page, operation: Operation) -> None:
    page.goto(f"/w/harbour/operations/{operation.pk}/")
    expect(page.locator("[data-live-status]")).to_have_text("Live")


def test_signing_in_takes_only_a_keyboard(page: Page, alice: User, complaints: Complaints) -> None:
    cache.clear()
    page.goto("/sign-in?next=/w/harbour/operations/")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("4 tries are left")
    expect(page.locator("#password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Operations", level=1)).to_be_visible()
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_page_follows_its_operation_without_being_loaded_again(
    page_of: PageOf, alice: User, operation: Operation
) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#nav-links")).to_contain_text("Operations1")
    operations.begin_step(operation, "image", detail="Building since just now.")
    expect(page.locator("#operation-steps")).to_contain_text("Building since just now.")
    operations.set_summary(operation, "Half of it is done. Callers notice nothing.")
    expect(page.locator(".truth strong")).to_have_text("Half of it is done.")
    operations.fail(operation, cause=Cause("NoRoom", "No node has 8 GPUs."))
    expect(page.locator(".cause h2")).to_have_text("NoRoom")
    expect(page.locator("#nav-links .count")).to_have_count(0)
    assert page.evaluate("window.sameDocument")


def test_many_changes_at_once_cost_few_requests(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "region=steps" in request.url else None)
    for n in range(60):
        operations.update_step(operation, "image", detail=f"Step {n}")
    expect(page.locator("#operation-steps")).to_contain_text("Step 59")
    assert len(asked) < 40


def test_after_a_broken_connection_the_page_shows_what_it_missed(
    page_of: PageOf, alice: User, operation: Operation, live_studio: LiveStudio
) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    assert live_studio.drop_sockets() == 2
    expect(page.locator("[data-live-status]")).to_have_text("Reconnecting")
    operations.set_summary(operation, "Said while nobody listened.")
    expect(page.locator("[data-live-status]")).to_have_text("Live")
    expect(page.locator(".truth")).to_contain_text("Said while nobody listened.")


def test_a_dropped_log_goes_on_without_gap_or_repeat(
    page_of: PageOf, alice: User, operation: Operation, live_studio: LiveStudio
) -> None:
    page = page_of(alice)
    write(operation, *(f"before {n}" for n in range(50)))
    open_operation(page, operation)
    expect(page.locator("[role=log] li").last).to_contain_text("before 49")
    for round_ in range(3):
        live_studio.drop_sockets()
        write(operation, *(f"round {round_} line {n}" for n in range(40)))
        expect(page.locator("[role=log] li").last).to_contain_text(f"round {round_} line 39")
    assert numbers(page) == list(range(1, 171))


def test_the_log_keeps_the_newest_five_thousand_lines(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    write(operation, *(f"line {n}" for n in range(1, 4001)))
    open_operation(page, operation)
    expect(page.locator("[data-log-tally]")).to_contain_text("4,000 lines")
    write(operation, *(f"line {n}" for n in range(4001, 6001)))
    expect(page.locator("[role=log] li").last).to_contain_text("line 6000")
    assert numbers(page) == list(range(1001, 6001))


def test_the_log_can_be_searched_and_narrowed_to_errors(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    write(operation, "loading <b>weights</b>", "reading vocab")
    write(operation, "vocab.json is not there", level="error")
    open_operation(page, operation)
    shown = page.locator("[role=log] li:visible")
    expect(shown).to_have_count(3)
    expect(shown.first).to_contain_text("loading <b>weights</b>")
    page.get_by_label("Find in log").fill("VOCAB")
    expect(shown).to_have_count(2)
    expect(page.locator("[role=log] mark").first).to_have_text("vocab")
    page.get_by_label("Level").select_option("Errors")
    expect(shown).to_have_count(1)
    expect(page.locator("[data-log-tally]")).to_have_text("1 line, 1 error")


def test_following_stops_when_one_scrolls_up_and_goes_on_by_the_button(
    page_of: PageOf, alice: User, operation: Operation
) -> None:
    page = page_of(alice)
    write(operation, *(f"line {n}" for n in range(300)))
    open_operation(page, operation)
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[role=log] li").last).to_contain_text("line 299")  # there is something to scroll up in
    page.locator("[role=log]").hover()
    page.mouse.wheel(0, -3000)
    expect(follow).to_have_attribute("aria-pressed", "false")
    top = page.eval_on_selector("[role=log]", "list => list.scrollTop")
    write(operation, "one more")
    expect(page.locator("[role=log] li").last).to_contain_text("one more")
    assert page.eval_on_selector("[role=log]", "list => list.scrollTop") == top
    follow.click()
    expect(page.locator("[role=log] li").last).to_be_in_viewport()


def test_the_proving_line_is_framed_in_the_log(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    write(operation, "init() called", "KeyError: 'petal'", "bye")
    operations.fail(operation, cause=Cause("UserScriptInitFailed", "init() failed.", proof="KeyError: 'petal'"))
    open_operation(page, operation)
    expect(page.locator("#proof")).to_contain_text("KeyError: 'petal'")
    expect(page.locator("[data-log-tally]")).to_contain_text("ended")


def test_cancelling_asks_first_and_is_possible_by_keyboard(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    opener = page.get_by_role("button", name="Cancel", exact=True)
    opener.press("Enter")
    expect(page.get_by_role("button", name="Keep it going")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    operation.refresh_from_db()
    assert not operation.cancel_requested
    opener.press("Enter")
    page.keyboard.press("Enter")  # the safe answer has the focus
    expect(page.get_by_role("dialog")).to_have_count(0)
    operation.refresh_from_db()
    assert not operation.cancel_requested
    opener.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Cancelling: Deploy blue to iris.")
    operation.refresh_from_db()
    assert operation.cancel_requested


def test_a_region_waits_while_its_dialog_is_open_and_then_catches_up(
    page_of: PageOf, alice: User, operation: Operation
) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    opener = page.get_by_role("button", name="Cancel", exact=True)
    opener.press("Enter")
    operations.set_summary(operation, "Said meanwhile.")
    operations.begin_step(operation, "image", detail="Steps have no dialog.")
    expect(page.locator("#operation-steps")).to_contain_text("Steps have no dialog.")
    expect(page.locator(".truth")).not_to_contain_text("Said meanwhile.")
    page.keyboard.press("Escape")
    expect(page.locator(".truth")).to_contain_text("Said meanwhile.")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused()


def test_the_keyboard_keeps_its_place_when_it_came_there_during_an_exchange(
    page_of: PageOf, alice: User, operation: Operation
) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    held: list[Route] = []
    page.route(lambda url: "region=head" in url, lambda route: held.append(route), times=1)  # noqa: PLW0108 - a builtin is refused
    with page.expect_request(lambda request: "region=head" in request.url):
        operations.set_summary(operation, "Said meanwhile.")
    opener = page.get_by_role("button", name="Cancel", exact=True)
    opener.focus()
    for route in held:
        route.continue_()
    expect(page.locator(".truth")).to_contain_text("Said meanwhile.")
    expect(opener).to_be_focused()


def test_menus_open_walk_and_close_by_keyboard(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    picker = page.locator(".workspaces summary")
    choice = page.locator(".workspaces ul a").first
    picker.press("Enter")
    expect(choice).to_be_visible()
    picker.press("ArrowDown")
    expect(choice).to_be_focused()
    page.keyboard.press("Escape")
    expect(picker).to_be_focused()
    expect(choice).to_be_hidden()


def test_on_a_narrow_screen_the_nav_is_a_sheet(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    page.set_viewport_size({"width": 375, "height": 800})
    open_operation(page, operation)
    audit = page.get_by_role("link", name="Audit")
    expect(audit).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).press("Enter")
    expect(audit).to_be_visible()
    page.keyboard.press("Escape")
    expect(audit).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_theme_is_kept_from_page_to_page(page_of: PageOf, alice: User, operation: Operation) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    page.get_by_role("button", name="Change between light and dark").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    assert chosen == "dark"
    page.goto("/w/harbour/audit/")
    assert page.evaluate("document.documentElement.dataset.theme") == chosen


def test_signing_out_in_one_tab_ends_the_other(
    page_of: PageOf, alice: User, operation: Operation, complaints: Complaints
) -> None:
    page = page_of(alice)
    open_operation(page, operation)
    other = page.context.new_page()
    other.goto("/w/harbour/audit/")
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_somebody_put_out_sees_no_more_of_what_happens(
    page_of: PageOf, alice: User, bob: User, operation: Operation, complaints: Complaints
) -> None:
    page = page_of(bob)
    open_operation(page, operation)
    membership = Membership.objects.get(user=bob)
    membership.delete()
    operations.set_summary(operation, "Not for strangers.")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert "Not for strangers." not in page.content()
    assert [each for each in complaints.found if "404" not in each] == []
    complaints.found.clear()
