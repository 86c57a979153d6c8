"""/live: members hear of changes, at once; nobody else hears anything."""

import threading

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from studio.live import notify
from studio.models import Membership, Role, Workspace
from studio.sockets.origin import same_origin
from tests.studio.sockets.conftest import Open, Socket


def topic_of(workspace: Workspace) -> str:
    return f"workspace-{workspace.pk}-operations"


def listen(open_socket: Open, user: User, workspace: Workspace) -> Socket:
    socket = open_socket("/live", user)
    socket.send({"subscribe": [topic_of(workspace)]})
    assert socket.receive() == {"type": "subscribed", "topics": [topic_of(workspace)]}
    return socket


def test_a_change_told_from_another_thread_arrives(open_socket: Open, workspace: Workspace, bob: User) -> None:
    socket = listen(open_socket, bob, workspace)
    thread = threading.Thread(target=notify, args=(topic_of(workspace),))
    thread.start()
    assert socket.receive() == {"type": "changed", "topic": topic_of(workspace), "up_to": None}
    thread.join()


def test_a_change_is_told_only_when_its_transaction_is_committed(
    open_socket: Open, workspace: Workspace, bob: User
) -> None:
    socket = listen(open_socket, bob, workspace)
    with transaction.atomic():
        notify(topic_of(workspace), up_to=7)
        assert socket.silent()
    assert socket.receive()["up_to"] == 7
    with transaction.atomic():
        notify(topic_of(workspace))
        transaction.set_rollback(True)
    assert socket.silent()


def test_a_stranger_may_not_listen(open_socket: Open, workspace: Workspace, charlie: User) -> None:
    socket = open_socket("/live", charlie)
    asked = [topic_of(workspace), "operation-7", "log-1", "secrets-1", "workspace-x-operations", "log-", "", 7]
    socket.send({"subscribe": asked})
    assert socket.receive() == {"type": "subscribed", "topics": []}
    notify(topic_of(workspace))
    assert socket.silent()


def test_nobody_is_hung_up_on(open_socket: Open, workspace: Workspace) -> None:
    socket = open_socket("/live", None)
    with pytest.raises(ConnectionClosed) as closed:
        socket.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://127.0.0.1:1", None])
def test_a_page_of_another_site_cannot_open_a_socket(
    origin: str | None, open_socket: Open, workspace: Workspace, bob: User
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket("/live", bob, origin=origin)
    assert refused.value.response.status_code == 403


def test_the_origin_must_be_the_host_and_the_host_one_of_ours() -> None:
    ours = ["slipway.example"]
    assert same_origin("https://slipway.example", host="slipway.example", allowed_hosts=ours)
    assert same_origin("http://Slipway.example:8000", host="slipway.example:8000", allowed_hosts=ours)
    assert not same_origin("https://slipway.example:8000", host="slipway.example", allowed_hosts=ours)
    assert not same_origin("https://rebound.example", host="rebound.example", allowed_hosts=ours)
    assert not same_origin("null", host="slipway.example", allowed_hosts=ours)


def test_a_person_put_out_of_the_workspace_hears_no_more(open_socket: Open, workspace: Workspace, bob: User) -> None:
    socket = listen(open_socket, bob, workspace)
    Membership.objects.get(user=bob).delete()
    with pytest.raises(ConnectionClosed) as closed:
        socket.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


def test_a_person_whose_role_changed_goes_on_hearing(open_socket: Open, workspace: Workspace, bob: User) -> None:
    socket = listen(open_socket, bob, workspace)
    membership = Membership.objects.get(user=bob)
    membership.role = Role.READER
    membership.save()
    notify(topic_of(workspace))
    assert socket.receive()["topic"] == topic_of(workspace)


def test_signing_out_closes_the_socket(open_socket: Open, workspace: Workspace, bob: User) -> None:
    socket = listen(open_socket, bob, workspace)
    session = Client()
    session.cookies["sessionid"] = socket.connection.request.headers["Cookie"].partition("=")[2]
    session.post("/sign-out")
    with pytest.raises(ConnectionClosed):
        socket.receive()


def test_telling_without_anybody_listening_is_harmless(workspace: Workspace) -> None:
    notify("endpoint-12")


def test_a_page_hears_on_after_a_thousand_changes_at_once(open_socket: Open, workspace: Workspace, bob: User) -> None:
    """The layer holds 100 messages for a page and drops those beyond; the next change is always heard."""
    socket = listen(open_socket, bob, workspace)
    for _ in range(1000):
        notify(topic_of(workspace))
    assert socket.receive()["type"] == "changed"
    while not socket.silent():
        pass
    notify(topic_of(workspace), up_to=1)
    assert socket.receive()["up_to"] == 1
