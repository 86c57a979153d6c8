"""Several routers: one line per deployment, whoever is called; and a dead one is routed around."""

import asyncio
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from routerd.haproxy.first_passages import BackendStat
from routerd.identity import write_identity
from routerd.settings import Settings
from tests.ports import free_port
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint, eventually
from tests.routerd.peers import BLUE, SECRET, Fleet
from tests.routerd.test_haproxy_queue import SCALED_TO_ZERO

PATIENT = {"max_queue": 200, "max_queue_wait_ms": 60_000, "request_timeout_ms": 60_000}


@pytest.fixture
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    """Nobody yet."""
    found = Fleet(replace(settings, peer_port=free_port(), admin_token=SECRET))
    async with found.stack:
        yield found


@pytest.fixture
async def three(fleet: Fleet) -> Fleet:
    """Three routers that found each other."""
    names = ("r1", "r2", "r3")
    for name in names:
        await fleet.add(name)
    fleet.introduce(*names)
    await fleet.serve()
    await fleet.until_met(*names)
    return fleet


async def blue_at(router: Router) -> BackendStat:
    """What this router's HAProxy counts of blue."""
    slot = router.reconciler.slots().find(BLUE)
    assert slot is not None
    backends, _ = await router.runtime.show_slots(slot)
    return backends[slot]


async def queued(router: Router) -> int:
    """How many requests wait for blue at this router, as its HAProxy says."""
    return (await blue_at(router)).queued


async def only_pass_on(routers: Sequence[Router], *, counts: Counter[str]) -> bool:
    """Whether these routers, which are called all the time, let another one serve blue, and have nothing left to do."""
    before = [await blue_at(router) for router in routers]
    answered = counts["200"]
    await eventually(lambda: counts["200"] > answered + 20)
    after = [await blue_at(router) for router in routers]
    return before == after and not any(stat.in_flight or stat.queued for stat in after)


async def served(router: Router) -> int:
    """How many requests for blue this router has counted."""
    slot = router.reconciler.slots().find(BLUE)
    assert slot is not None
    return (await router.runtime.show_load())[0][slot].requests


@asynccontextmanager
async def under_load(*routers: Router, callers: int = 3) -> AsyncIterator[Counter[str]]:
    """Requests to each of the routers without pause; counts their answers."""
    counts: Counter[str] = Counter()
    stop = asyncio.Event()

    async def caller(router: Router) -> None:
        while not stop.is_set():
            try:
                answer = await router.call()
                counts[f"{answer.status} {answer.reason or ''}".strip()] += 1
            except aiohttp.ServerDisconnectedError:  # how HAProxy ends a request on a connection it had used before
                counts["broken off"] += 1

    async with asyncio.TaskGroup() as group:
        for router in routers:
            for _ in range(callers):
                group.create_task(caller(router))
        try:
            yield counts
        finally:
            stop.set()


async def test_a_replica_never_has_two_requests_whichever_router_is_called(
    three: Fleet, start_model: StartModel
) -> None:
    models = [await start_model(f"blue-{n}", delay=0.005) for n in range(2)]
    await three.serve(endpoint(deployment("blue", *models, **PATIENT)))
    owner, *others = three.ranked("r1", "r2", "r3")

    calls = [router.call() for _ in range(60) for router in three.routers.values()]
    answers = await asyncio.gather(*calls)

    assert Counter(answer.status for answer in answers) == {200: 180}
    assert [model.most_in_flight for model in models] == [1, 1]
    assert await served(owner) == 180  # each request is counted once, where it queues
    assert [await served(other) for other in others] == [0, 0]


async def test_who_came_first_is_served_first_over_all_routers(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, *_ = three.ranked("r1", "r2", "r3")
    assert blue.released is not None

    calls = []
    for number in range(12):
        router = list(three.routers.values())[number % 3]
        calls.append(asyncio.create_task(router.call(data=str(number))))
        if number == 0:
            await blue.arrived.wait()

        async def stands_in_line(place: int = number) -> bool:
            return await queued(owner) == place

        await eventually(stands_in_line)
    blue.released.set()
    await asyncio.gather(*calls)

    assert [int(seen.body) for seen in blue.seen] == list(range(12))


async def test_the_model_sees_nothing_of_the_hop_and_the_answer_is_whole(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    _, other, _ = three.ranked("r1", "r2", "r3")

    async def pieces():  # type: ignore[no-untyped-def]
        for number in range(20):
            yield b"%04d" % number * 1000

    steered = {"endpoint": "rates", "deployment": "green", "slot": "q60000-0001"}
    forged = {f"x-slipway-hop-{name}": value for name, value in steered.items()}
    sized = await other.call(path="/a/b?c=d", headers=forged)
    chunked = await other.call(data=pieces())

    assert (sized.status, sized.text, chunked.status) == (200, "blue-1", 200)
    assert blue.seen[0].path == "/a/b?c=d"
    assert blue.seen[0].headers["x-request-id"] == sized.headers["x-request-id"]
    assert not [name for seen in blue.seen for name in seen.headers if name.startswith("x-routerd")]
    assert not [name for seen in blue.seen for name in seen.headers if name == "authorization"]
    assert blue.seen[1].body == b"".join(b"%04d" % n * 1000 for n in range(20))


async def test_limits_and_refusals_are_those_of_the_one_line(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await three.serve(endpoint(deployment("blue", blue, max_queue=1, max_queue_wait_ms=60_000)))
    owner, other, third = three.ranked("r1", "r2", "r3")
    assert blue.released is not None

    accepted = [asyncio.create_task(owner.call())]
    await blue.arrived.wait()
    accepted.append(asyncio.create_task(other.call()))

    async def one_waits() -> bool:
        return await queued(owner) == 1

    await eventually(one_waits)
    refused = await third.call()
    blue.released.set()

    assert (refused.status, refused.reason, refused.headers["retry-after"]) == (429, "queue_full", "1")
    assert [(await call).status for call in accepted] == [200, 200]


async def test_a_body_without_a_length_is_counted_by_the_router_that_is_called(
    three: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, other, _ = three.ranked("r1", "r2", "r3")

    async def pieces(count: int):  # type: ignore[no-untyped-def]
        for _ in range(count):
            yield b"x" * 50_000

    accepted = await other.call(data=pieces(15))
    answers = [await other.call(data=pieces(21)) for _ in range(20)]

    assert accepted.status == 200
    assert blue.seen[0].body == b"x" * 750_000
    assert {(answer.status, answer.reason) for answer in answers} == {(413, "payload_too_large")}
    assert {answer.headers["connection"] for answer in answers} == {"close"}
    assert (await owner.call()).status == 200


async def test_a_caller_that_gives_up_leaves_the_line_at_the_owner(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, other, third = three.ranked("r1", "r2", "r3")
    assert blue.released is not None
    first = asyncio.create_task(third.call())
    await blue.arrived.wait()
    call = asyncio.create_task(other.call())

    async def waiting(count: int) -> bool:
        return await queued(owner) == count

    await eventually(lambda: waiting(1))
    call.cancel()
    await eventually(lambda: waiting(0))
    blue.released.set()

    assert (await first).status == 200
    assert len(blue.seen) == 1


async def test_a_request_is_held_at_its_owner_until_the_first_replica_comes(
    three: Fleet, start_model: StartModel
) -> None:
    await three.serve(endpoint(deployment("blue", scale=SCALED_TO_ZERO)))
    owner, other, _ = three.ranked("r1", "r2", "r3")

    call = asyncio.create_task(other.call())

    async def held() -> bool:
        return sum((await owner.runtime.show_held()).values()) == 1

    await eventually(held)
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO), generation=2))
    answer = await call

    assert answer.status == 200
    assert int(answer.headers["x-slipway-cold-start"]) > 0


async def test_a_deployment_the_owner_hears_of_a_moment_later_is_waited_for(
    three: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    owner, other, _ = three.ranked("r1", "r2", "r3")
    route = endpoint(deployment("blue", blue, **PATIENT))
    await other.serve(route)

    call = asyncio.create_task(other.call())
    await asyncio.sleep(0.3)  # it is on its way, and the owner knows nothing of blue
    assert not call.done()
    await owner.serve(route)

    assert (await call).status == 200
    assert await served(owner) == 1


async def test_a_killed_owner_is_routed_around_within_a_second(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", delay=0.002)
    await three.serve(endpoint(deployment("blue", blue, concurrency=4, **PATIENT)))
    owner, second, third = three.ranked("r1", "r2", "r3")

    async with under_load(second, third) as counts:
        await eventually(lambda: counts["200"] > 50)
        killed, _ = await owner.runtime.process_ids()
        os.kill(owner.process.pid or 0, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        start, seen = time.monotonic(), await served(second)

        async def taken_over() -> bool:
            return await served(second) >= seen + 20

        await eventually(taken_over)
        took = time.monotonic() - start
        await eventually(lambda: counts["200"] > 300)

    assert took < 3  # 0.3 s on a machine with thirty processes for two cores
    # Lost is only what the dead router had: one request of each caller at most.
    assert counts.keys() <= {"200", "502 router_broke_off", "broken off"}
    assert counts.total() - counts["200"] <= 6
    assert await served(third) < 10  # the next in rank is the new owner, for everybody


async def test_a_frozen_owner_loses_what_it_has_and_is_left_aside_within_a_second(
    three: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, second, third = three.ranked("r1", "r2", "r3")
    assert (await third.call()).status == 200
    worker, _ = await owner.runtime.process_ids()

    os.kill(worker, signal.SIGSTOP)  # it accepts connections and says nothing, as behind a cut network
    try:
        start = time.monotonic()

        async def found_out() -> bool:
            (text,) = await third.runtime.execute("show stat -1 4 9998")
            address = owner.settings.bind
            return any(f",{address}:" in line and ",DOWN," in line for line in text.splitlines())

        await eventually(found_out, seconds=5)
        took = time.monotonic() - start
        answer = await third.call()
    finally:
        os.kill(worker, signal.SIGCONT)

    assert took < 3  # 150 + 400 + 20 + 400 ms, and what two busy cores add
    assert answer.status == 200
    assert await served(second) >= 1


async def test_no_request_is_lost_while_routers_join_and_leave(fleet: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", delay=0.003)
    route = endpoint(deployment("blue", blue, concurrency=2, **PATIENT))
    one = await fleet.add("r1")
    two = await fleet.add("r2")
    fleet.introduce("r1", "r2")
    await fleet.serve(route)
    await fleet.until_met("r1", "r2")

    async with under_load(one, two) as counts:
        await eventually(lambda: counts["200"] > 30)
        three = await fleet.add("r3")
        fleet.introduce("r1", "r2")
        await three.serve(route)
        for names in (("r1", "r2", "r3"), ("r2", "r3"), ("r1", "r3"), ("r1", "r2", "r3")):
            fleet.introduce(*names)
            before = counts["200"]
            await eventually(lambda before=before: counts["200"] > before + 60)
        await fleet.until_met("r1", "r2", "r3")
        _, *others = fleet.ranked("r1", "r2", "r3")
        await eventually(lambda: only_pass_on(others, counts=counts))  # what stood in older lines is answered
        blue.most_in_flight = 0
        before = counts["200"]
        await eventually(lambda: counts["200"] > before + 100)

    assert counts.keys() == {"200"}
    assert blue.most_in_flight <= 2  # once all agree again, concurrency holds over all routers


async def test_a_hand_over_exceeds_concurrency_by_no_more_than_what_was_in_flight(
    fleet: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", delay=0.003)
    for name in ("r1", "r2"):
        await fleet.add(name)
    fleet.introduce("r1", "r2")
    await fleet.serve(endpoint(deployment("blue", blue, concurrency=3, **PATIENT)))
    await fleet.until_met("r1", "r2")
    owner, other = fleet.ranked("r1", "r2")

    async with under_load(owner, other, callers=8) as counts:
        await eventually(lambda: counts["200"] > 100)
        assert blue.most_in_flight == 3
        owner.reconciler.leave_ring()
        fleet.introduce(other.settings.pod_name)
        before = counts["200"]
        await eventually(lambda: counts["200"] > before + 200)

    assert counts.keys() == {"200"}
    assert blue.most_in_flight <= 6  # three of the old owner's, while the new one already counts three
    assert await served(other) > 100


async def test_a_haproxy_that_comes_back_from_disk_still_knows_where_the_others_sit(
    three: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    one = three.routers["r1"]
    seats = await one.runtime.show_seats()

    worker, _ = await one.runtime.process_ids()
    one.process.send(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    await eventually(lambda: one.process.ended() and not Path(f"/proc/{worker}").exists())
    one.process.start()
    await asyncio.to_thread(one.process.wait_ready, timeout_seconds=10)

    assert len(seats) == 2
    assert await one.runtime.show_seats() == seats
    assert (await one.call()).status == 200


async def test_nobody_without_a_routers_certificate_gets_in(
    three: Fleet, start_model: StartModel, tmp_path: Path
) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))
    one = three.routers["r1"]
    where = (one.settings.bind, one.settings.peer_port)
    await asyncio.to_thread(write_identity, tmp_path, secret="another secret")

    def attempt(context: ssl.SSLContext | None) -> bytes:
        head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        head += b"x-slipway-hop-endpoint: credit\r\nx-slipway-hop-deployment: blue\r\n\r\n{}"
        plain = socket.create_connection(where, timeout=5)
        with suppress(OSError), context.wrap_socket(plain) if context else plain as used:
            used.sendall(head)
            return used.recv(4096)
        plain.close()
        return b""

    def context(directory: Path | None) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        if directory:
            made.load_cert_chain(directory / "peer.pem")
        return made

    assert b"200" not in await asyncio.to_thread(attempt, None)
    assert await asyncio.to_thread(attempt, context(None)) == b""
    assert await asyncio.to_thread(attempt, context(tmp_path)) == b""
    assert blue.seen == []
    member = await asyncio.to_thread(attempt, context(three.routers["r2"].settings.run_dir))
    assert member.startswith(b"HTTP/1.1 200")  # so it was the certificate that kept the others out


async def test_a_key_is_asked_for_by_the_router_that_is_called(three: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await three.serve(endpoint(deployment("blue", blue, **PATIENT)))

    for router in three.routers.values():
        assert (await router.call(key="wrong")).status == 401
        assert (await router.call(key=KEY)).status == 200
    assert len(blue.seen) == 3


async def test_internal_ways_in_are_unix_sockets_only(three: Fleet) -> None:
    one = three.routers["r1"]
    (text,) = await one.runtime.execute("show cli sockets")
    config = (one.settings.run_dir / "haproxy.cfg").read_text() + (one.settings.run_dir / "peers.cfg").read_text()
    binds = [line.split()[1] for line in config.splitlines() if line.strip().startswith("bind ")]

    outside = {bind for bind in binds if not bind.startswith("unix@")}
    assert outside == {
        f"{one.settings.bind}:{one.settings.inference_port}",
        f"{one.settings.bind}:{one.settings.peer_port}",
    }
    assert "127." not in text.replace(str(one.settings.run_dir), "")
