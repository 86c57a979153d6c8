"""Logs of pods, from files in the CRI's format."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clusters.embedded.server.logs import tail_offset
from tests.clusters.embedded.server.manifests import PODS, pod

LINES = (
    "2026-11-21T09:00:00.100000000Z stdout F one\n"
    "2026-11-21T09:00:01.100000000Z stderr P two, \n"
    "2026-11-21T09:00:01.200000000Z stderr F and on\n"
    "2026-11-21T09:00:02.100000000Z stdout F \n"
    "2026-11-21T09:00:03.100000000Z stdout F four ü\n"
)


def write(cluster: Any, text: str = LINES, *, name: str = "a-main") -> Path:
    path: Path = cluster.directory / f"default-{name}"
    with path.open("a") as file:
        file.write(text)
    return path


async def read(cluster: Any, query: str = "", *, name: str = "a") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {cluster.token}"}
    async with cluster.session.get(f"{cluster.url}{PODS}/{name}/log?{query}", headers=headers) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ntwo, and on\n\nfour ü\n"),
        ("tailLines=0", ""),
        ("tailLines=1", "four ü\n"),
        ("tailLines=3", "two, and on\n\nfour ü\n"),
        ("tailLines=99", "one\ntwo, and on\n\nfour ü\n"),
        ("sinceTime=2026-11-21T09:00:02Z", "\nfour ü\n"),
        ("sinceTime=2026-11-21T10:00:02%2B01:00", "\nfour ü\n"),
        ("limitBytes=7", "one\ntwo"),
        ("timestamps=true&tailLines=1", "2026-11-21T09:00:03.100000000Z four ü\n"),
        ("timestamps=true&limitBytes=35", "2026-11-21T09:00:00.100000000Z one\n"),
        ("timestamps=true&tailLines=3&limitBytes=42", "2026-11-21T09:00:01.100000000Z two, and on"),
    ],
)
async def test_the_asked_part_of_a_log_is_given(cluster: Any, query: str, text: str) -> None:
    await cluster.post(PODS, pod("a"))
    write(cluster)
    assert await read(cluster, query) == (200, text)


async def test_a_followed_log_grows_until_the_container_is_finished(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    write(cluster)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    url = f"{cluster.url}{PODS}/a/log?follow=true&tailLines=1"
    async with asyncio.timeout(20), cluster.session.get(url, headers=headers) as response:
        assert await response.content.readline() == "four ü\n".encode()
        write(cluster, "2026-11-21T09:00:04.1Z stdout P fi")
        write(cluster, "ve\n2026-11-21T09:00:04.2Z stdout F , six\n")
        assert await response.content.readline() == b"five, six\n"
        write(cluster, "2026-11-21T09:00:05.1Z stdout F last\n")
        cluster.logs.end_of("a", "main").set()
        assert await response.content.read() == b"last\n"


async def test_a_followed_log_goes_on_in_the_file_that_replaces_it(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    path = write(cluster)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    url = f"{cluster.url}{PODS}/a/log?follow=true&tailLines=1"
    async with asyncio.timeout(20), cluster.session.get(url, headers=headers) as response:
        assert await response.content.readline() == "four ü\n".encode()
        write(cluster, "2026-11-21T09:00:04.1Z stdout F the last of the old\n")
        path.rename(path.with_name("rotated"))
        write(cluster, "2026-11-21T09:00:04.2Z stdout F the first of the new\n")
        assert await response.content.readline() == b"the last of the old\n"
        assert await response.content.readline() == b"the first of the new\n"
        cluster.logs.end_of("a", "main").set()
        assert await response.content.read() == b""


async def test_closing_the_server_ends_followed_logs(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    write(cluster)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    url = f"{cluster.url}{PODS}/a/log?follow=true"
    async with asyncio.timeout(20), cluster.session.get(url, headers=headers) as response:
        assert await response.content.readline() == b"one\n"
        await cluster.server.close()
        assert (await response.content.read()).endswith("four ü\n".encode())


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "a container name must be specified for pod a, choose one of: [main side]"),
        ("container=other", "container other is not valid for pod a"),
        ("container=main&previous=true", 'previous terminated container "main" in pod "a" not found'),
        ("container=side", 'container "side" in pod "a" is waiting to start: PodInitializing'),
        ("container=main&sinceTime=yesterday", "sinceTime"),
        ("container=main&sinceTime=2026-11-21T09:00:02Z&sinceSeconds=3", "at most one of"),
    ],
)
async def test_a_log_that_cannot_be_given_says_why(cluster: Any, query: str, words: str) -> None:
    await cluster.post(PODS, pod("a", "main", "side"))
    write(cluster)
    status, text = await read(cluster, query)
    assert status == 400
    assert words in text.replace('\\"', '"')


async def test_the_previous_run_has_its_own_log(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    write(cluster, "2026-11-21T08:00:00.1Z stdout F before\n", name="a-main.1")
    write(cluster)
    assert await read(cluster, "previous=true") == (200, "before\n")


@pytest.mark.parametrize("size", [10, 70_000, 200_000])
def test_the_tail_is_found_in_files_larger_than_a_chunk(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    line = b"2026-11-21T09:00:00.1Z stdout F " + b"x" * size + b"\n"
    path.write_bytes(line * 5 + b"2026-11-21T09:00:00.1Z stdout P part")
    with path.open("rb") as file:
        assert tail_offset(file, lines=2) == len(line) * 4
        assert tail_offset(file, lines=6) == 0
