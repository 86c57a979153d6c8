"""The TCP relay on real sockets."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from clusters.embedded.listener import Listener
from clusters.embedded.relay import wanted_listeners


async def pod_server(host: str, answer: bytes) -> asyncio.Server:
    """Says a word, then echoes until the client has said all."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer + await reader.read())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(talk, host, 0)


async def ask(address: tuple[str, int], said: bytes) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(said)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


def free_listener() -> Listener:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    return Listener(address)


def address_of(server: asyncio.Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()
    return host, port


async def test_many_connections_reach_all_endpoints_and_half_close_is_passed_on() -> None:
    listener = free_listener()
    one, two = await pod_server("127.0.0.1", b"1:"), await pod_server("127.0.0.1", b"2:")
    listener.route.set([address_of(one), address_of(two)])
    answers = await asyncio.gather(*(ask(listener.address, b"hello") for _ in range(100)))
    assert sorted(set(answers)) == [b"1:hello", b"2:hello"]
    assert answers.count(b"1:hello") == 50
    for server in (listener, one, two):
        server.close()


async def test_megabytes_pass_unchanged_in_both_directions() -> None:
    listener, server = free_listener(), await pod_server("127.0.0.1", b"")
    listener.route.set([address_of(server)])
    body = bytes(range(256)) * 40_000
    assert await ask(listener.address, body) == body
    listener.close()
    server.close()


async def test_the_next_endpoint_is_taken_when_one_refuses() -> None:
    listener, server = free_listener(), await pod_server("127.0.0.1", b"1:")
    refusing = free_listener()
    dead = refusing.address
    refusing.close()
    await asyncio.sleep(0)
    listener.route.set([dead, address_of(server)])
    refused = await asyncio.gather(*(ask(listener.address, b"x") for _ in range(4)))
    assert set(refused) == {b"1:x"}
    listener.close()
    server.close()


async def test_without_endpoints_a_connection_is_reset() -> None:
    listener = free_listener()
    with pytest.raises(ConnectionResetError):
        await ask(listener.address, b"x")
    listener.close()


def busy_pod() -> tuple[socket.socket, socket.socket]:
    """A pod whose queue of connections is full with one: the next connect stands once that is accepted."""
    pod = socket.create_server(("127.0.0.1", 0), backlog=0)
    return pod, socket.create_connection(pod.getsockname())


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    with connection:
        chunks = []
        while chunk := connection.recv(1 << 16):
            chunks.append(chunk)
    return b"".join(chunks)


async def say_before_the_pod_stands(said: bytes) -> bytes:
    """What a pod hears of a client that spoke, and hung up, before the pod's connection stood."""
    listener, (pod, filler) = free_listener(), busy_pod()
    listener.route.set([pod.getsockname()])
    pod.settimeout(10)
    _, writer = await asyncio.open_connection(*listener.address)
    writer.write(said)
    writer.write_eof()
    await asyncio.sleep(0.2)  # the client's bytes are there, the pod's connection is not
    (await asyncio.to_thread(pod.accept))[0].close()
    heard = await asyncio.to_thread(lambda: read_all(pod.accept()[0]))
    for each in (writer, listener, pod, filler):
        each.close()
    return heard


Run = Callable[[Coroutine[Any, Any, bytes]], bytes]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_nothing_is_lost_of_what_a_client_says_before_the_pods_connection_stands(run: Run, size: int) -> None:
    body = bytes(range(250)) * (size // 250 + 1)
    assert run(say_before_the_pod_stands(body[:size])) == body[:size]


def test_a_load_balancer_listens_on_three_addresses_and_a_headless_service_on_none() -> None:
    port = {"name": "http", "port": 80, "nodePort": 30080}
    slices = [
        {
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["127.16.0.2"], "conditions": {"ready": True}},
                {"addresses": ["127.16.0.3"], "conditions": {"ready": False, "serving": True, "terminating": True}},
            ],
        }
    ]
    balancer = {"spec": {"type": "LoadBalancer", "clusterIP": "127.16.128.10", "ports": [port]}}
    wanted = wanted_listeners(balancer, slices=slices)
    assert [w.address for w in wanted] == [("127.16.128.10", 80), ("127.0.0.1", 30080), ("127.0.0.1", 80)]
    assert {w.endpoints for w in wanted} == {(("127.16.0.2", 8080),)}
    slices[0]["endpoints"].pop(0)
    assert wanted_listeners(balancer, slices=slices)[0].endpoints == (("127.16.0.3", 8080),)
    assert wanted_listeners({"spec": {"clusterIP": "None", "ports": [port]}}, slices=slices) == []
