"""/logs/<id>: every line exactly once, to members only."""

import threading

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone
from websockets.exceptions import ConnectionClosed

from studio.models import LogStream, Membership, Workspace
from studio.services.logs import Line, append_lines, close_stream, open_stream
from studio.sockets import logs as log_socket
from tests.conftest import LiveStudio
from tests.studio.sockets.conftest import Open, Socket


@pytest.fixture
def stream(workspace: Workspace) -> LogStream:
    return open_stream(workspace, key="pod/1/server/0", label="pod")


def write(stream: LogStream, *texts: str) -> None:
    append_lines(stream, lines=[Line(at=timezone.now(), source="server", text=text) for text in texts])


def read_to(socket: Socket, seq: int) -> list[int]:
    """Sequence numbers as they come, until `seq` has come."""
    seen: list[int] = []
    while not seen or seen[-1] < seq:
        seen += [line[0] for line in socket.receive()["lines"]]
    return seen


def test_what_is_there_comes_first_then_what_is_written(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    write(stream, "one", "two")
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    first = socket.receive()
    assert [(line[0], line[2:]) for line in first["lines"]] == [
        (1, ["server", "info", "one"]),
        (2, ["server", "info", "two"]),
    ]
    write(stream, "three")
    assert read_to(socket, 3) == [3]


def test_a_reader_who_comes_back_gets_what_was_written_meanwhile_and_nothing_twice(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    write(stream, *"abc")
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    seen = read_to(socket, 3)
    socket.connection.close()
    write(stream, *"de")
    again = open_socket(f"/logs/{stream.pk}", bob)
    again.send({"after": seen[-1]})
    assert seen + read_to(again, 5) == [1, 2, 3, 4, 5]


def test_lines_of_many_writers_come_in_order_without_gap_or_repeat(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})

    def burst() -> None:
        for n in range(60):
            write(stream, f"{n} a", f"{n} b", f"{n} c")
        connections.close_all()

    threads = [threading.Thread(target=burst) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert read_to(socket, 540) == list(range(1, 541))
    for thread in threads:
        thread.join()


def test_only_the_newest_lines_are_sent_to_a_page_that_has_none(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_socket, "SHOWN", 10)
    write(stream, *(str(n) for n in range(1, 31)))
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    assert read_to(socket, 30) == list(range(21, 31))


def test_the_end_of_a_stream_is_told_with_its_last_lines(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    write(stream, "last")
    close_stream(stream)
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    message = socket.receive()
    assert (len(message["lines"]), message["closed"]) == (1, True)


def test_a_stream_closed_while_followed_says_so(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    assert socket.receive() == {"type": "lines", "lines": [], "closed": False}
    close_stream(stream)
    assert socket.receive() == {"type": "lines", "lines": [], "closed": True}


@pytest.mark.parametrize("after", [-5, 10**30, "x", None, True])
def test_nonsense_about_what_one_has_breaks_nothing(
    after: object, live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    write(stream, "one")
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": after})
    socket.send({"after": 0})
    assert isinstance(socket.receive()["lines"], list)


def test_a_stranger_is_hung_up_on(live_studio: LiveStudio, open_socket: Open, stream: LogStream, charlie: User) -> None:
    write(stream, "secret")
    socket = open_socket(f"/logs/{stream.pk}", charlie)
    with pytest.raises(ConnectionClosed) as closed:
        socket.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


def test_a_member_who_is_put_out_is_hung_up_on(
    live_studio: LiveStudio, open_socket: Open, stream: LogStream, bob: User
) -> None:
    socket = open_socket(f"/logs/{stream.pk}", bob)
    socket.send({"after": 0})
    socket.receive()
    Membership.objects.get(user=bob).delete()
    with pytest.raises(ConnectionClosed):
        socket.receive()
