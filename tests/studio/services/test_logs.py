"""The log store: every line once, in order, numbered without a hole."""

import threading

import pytest
from django.db import connections
from django.utils import timezone

from studio.models import LogLine, Workspace
from studio.services import logs
from studio.services.logs import Line, append_lines, close_stream, open_stream, read_lines


def lines(*texts: str) -> list[Line]:
    return [Line(at=timezone.now(), source="server", text=text) for text in texts]


def test_lines_are_numbered_from_one_and_read_after_a_number(workspace: Workspace) -> None:
    stream = open_stream(workspace, key="pod/1/server/0", label="pod")
    assert append_lines(stream, lines=lines("one", "two")) == 2
    assert append_lines(stream, lines=lines("three")) == 3
    assert append_lines(stream, lines=[]) == 3
    assert [(row.seq, row.text) for row in read_lines(stream, after=1)] == [(2, "two"), (3, "three")]
    assert [row.seq for row in read_lines(stream, after=0, limit=1)] == [1]


def test_the_same_key_is_the_same_stream(workspace: Workspace) -> None:
    assert open_stream(workspace, key="k", label="a").pk == open_stream(workspace, key="k", label="b").pk


def test_a_line_is_cleaned_of_what_a_database_cannot_keep_and_cut_when_it_is_endless(workspace: Workspace) -> None:
    stream = open_stream(workspace, key="k", label="l")
    append_lines(stream, lines=lines("a\x00b\r\n", "x" * (logs.LONGEST_LINE + 5)))
    first, second = read_lines(stream, after=0)
    assert first.text == "a\ufffdb"
    assert second.text.endswith("… (5 more characters)")


def test_only_the_newest_lines_are_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KEPT_LINES", 30)
    monkeypatch.setattr(logs, "TRIM_EVERY", 10)
    stream = open_stream(workspace, key="k", label="l")
    for start in range(0, 100, 7):
        append_lines(stream, lines=lines(*(str(n) for n in range(start, min(start + 7, 100)))))
    kept = list(LogLine.objects.filter(stream=stream).values_list("seq", flat=True))
    assert kept[-1] == 100
    assert 30 <= len(kept) <= 40
    assert kept == list(range(kept[0], 101))


def test_closing_twice_keeps_the_first_time(workspace: Workspace) -> None:
    stream = open_stream(workspace, key="k", label="l")
    close_stream(stream)
    stream.refresh_from_db()
    first = stream.closed_at
    close_stream(stream)
    stream.refresh_from_db()
    assert first is not None
    assert stream.closed_at == first


@pytest.mark.django_db(transaction=True)
def test_writers_in_many_threads_leave_no_hole_and_no_number_twice(workspace: Workspace) -> None:
    stream = open_stream(workspace, key="k", label="l")

    def write(name: str) -> None:
        for n in range(20):
            append_lines(stream, lines=lines(f"{name} {n}", f"{name} {n} b"))
        connections.close_all()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_lines(stream, after=0)
    assert [row.seq for row in rows] == list(range(1, 161))
    for name in "abcd":
        assert [row.text for row in rows if row.text.startswith(name)][::2] == [f"{name} {n}" for n in range(20)]
