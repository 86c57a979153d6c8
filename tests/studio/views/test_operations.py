"""The pages of Operations, for those who may see them."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from studio.actor import SLIPWAY
from studio.models import AuditEntry, Membership, Operation, Role, Workspace
from studio.services import operations
from studio.services.operations import Cause, Fix, Step, Subject, start_operation

ClientOf = Callable[[User], Client]


def begin(workspace: Workspace, title: str = "Deploy blue to iris") -> Operation:
    return start_operation(
        workspace,
        kind="deploy",
        title=title,
        subject=Subject("deployment", "12", "iris / blue"),
        task="tests.nothing",
        steps=[Step("image", "Image"), Step("probes", "Probes")],
        actor=SLIPWAY,
    )


def queries_of(client: Client, url: str) -> int:
    client.get(url)  # the first request also fills caches
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(url).status_code == 200
    return len(queries)


@pytest.mark.parametrize("url", ["/w/harbour/operations/", "/w/harbour/audit/"])
def test_a_list_asks_the_database_no_more_for_three_rows_than_for_one(
    url: str, workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    client = client_of(bob)

    def add_row() -> None:
        op = begin(workspace)
        operations.set_summary(op, "Waiting.")
        client.post(f"/w/harbour/operations/{op.pk}/cancel")  # leaves an audit entry

    add_row()
    one = queries_of(client, url)
    add_row()
    add_row()
    assert queries_of(client, url) == one
    assert one <= 8


def test_one_operation_asks_no_more_for_many_steps(workspace: Workspace, bob: User, client_of: ClientOf) -> None:
    op = begin(workspace)
    assert queries_of(client_of(bob), f"/w/harbour/operations/{op.pk}/") <= 9


def test_unfinished_operations_come_before_newer_finished_ones(
    workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    begin(workspace, "Still going")
    operations.succeed(begin(workspace, "Over and done"), summary="Done.")
    text = client_of(bob).get("/w/harbour/operations/").content.decode()
    assert text.index("Still going") < text.index("Over and done")


def test_the_failed_filter_shows_only_failures_with_their_cause(
    workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    begin(workspace, "Still going")
    operations.fail(begin(workspace, "Went wrong"), cause=Cause("NoRoom", "No node has 8 GPUs."))
    text = client_of(bob).get("/w/harbour/operations/?show=failed").content.decode()
    assert "NoRoom" in text
    assert "Still going" not in text


def test_a_stranger_gets_404_for_list_and_page_and_cancel(
    workspace: Workspace, charlie: User, client_of: ClientOf
) -> None:
    op = begin(workspace)
    client = client_of(charlie)
    assert client.get("/w/harbour/operations/").status_code == 404
    assert client.get(f"/w/harbour/operations/{op.pk}/").status_code == 404
    assert client.post(f"/w/harbour/operations/{op.pk}/cancel").status_code == 404
    assert client.get(f"/w/elsewhere/operations/{op.pk}/").status_code == 404
    op.refresh_from_db()
    assert not op.cancel_requested


def test_a_reader_may_look_but_not_cancel_and_is_told_which_role_is_needed(
    workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.READER)
    op = begin(workspace)
    page = client_of(bob).get(f"/w/harbour/operations/{op.pk}/")
    assert page.status_code == 200
    assert 'data-open="cancel"' not in page.content.decode()
    refused = client_of(bob).post(f"/w/harbour/operations/{op.pk}/cancel")
    assert refused.status_code == 403
    assert "This needs the role Data scientist in harbour; yours is Reader." in refused.content.decode()
    op.refresh_from_db()
    assert not op.cancel_requested


def test_cancelling_asks_the_task_and_is_written_down(workspace: Workspace, bob: User, client_of: ClientOf) -> None:
    op = begin(workspace)
    response = client_of(bob).post(f"/w/harbour/operations/{op.pk}/cancel", follow=True)
    assert "Cancelling: Deploy blue to iris." in response.content.decode()
    op.refresh_from_db()
    assert op.cancel_requested
    assert AuditEntry.objects.get().action == "operation.cancel"


def test_the_page_names_the_cause_and_numbers_the_ways_out(
    workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    op = begin(workspace)
    fixes = (Fix("Register it again."), Fix("Try it at your desk.", command="azmlinfsrv --entry_script score.py"))
    operations.fail(op, cause=Cause("UserScriptInitFailed", "init() <failed>.", proof="KeyError: 'x'", fixes=fixes))
    text = client_of(bob).get(f"/w/harbour/operations/{op.pk}/").content.decode()
    assert "<code>UserScriptInitFailed</code>" in text
    assert "init() &lt;failed&gt;." in text
    assert "KeyError: &#x27;x&#x27;" in text
    assert text.index("Register it again.") < text.index("azmlinfsrv")


def test_htmx_gets_the_region_it_asks_for_and_nothing_else(
    workspace: Workspace, bob: User, client_of: ClientOf
) -> None:
    op = begin(workspace)
    client, url = client_of(bob), f"/w/harbour/operations/{op.pk}/"
    region = client.get(url, {"region": "steps"}, headers={"HX-Request": "true"}).content.decode()
    assert region.strip().startswith("<section")
    assert "<html" not in region
    assert "<html" in client.get(url, {"region": "steps"}).content.decode()
    assert client.get(url, {"region": "secrets"}, headers={"HX-Request": "true"}).status_code == 404


def test_a_long_list_comes_in_pages(workspace: Workspace, bob: User, client_of: ClientOf) -> None:
    Operation.objects.bulk_create(
        Operation(workspace=workspace, title=f"Number {n}.", task="t", state="succeeded", finished_at=timezone.now())
        for n in range(51)
    )
    first = client_of(bob).get("/w/harbour/operations/").content.decode()
    assert "1 to 50" in first
    assert "page=2" in first
    second = client_of(bob).get("/w/harbour/operations/?page=2").content.decode()
    assert second.count('<tr role="row">') == 2  # the head and one row
    assert client_of(bob).get("/w/harbour/operations/?page=nonsense").status_code == 200


def test_the_log_can_be_taken_along_as_text(workspace: Workspace, bob: User, client_of: ClientOf) -> None:
    op = begin(workspace)
    operations.say(op, "first\nsecond", source="build", level="warn")
    response = client_of(bob).get(f"/w/harbour/logs/{op.log.pk}.txt")
    assert "attachment" in response.headers["Content-Disposition"]
    assert [line.split(" ", 1)[1] for line in response.content.decode().splitlines()] == [
        "build warn first",
        "build warn second",
    ]
