"""Changes while requests flow: nothing is lost, and what is reported is what HAProxy runs."""

import asyncio
import os
import select
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from routerd.contract import key_hash
from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.process import HaproxyProcess
from routerd.haproxy.runtime import Runtime
from routerd.reconciler import Reconciler
from routerd.routes import NAME_TAKEN, Problem, RoutingTable
from routerd.settings import Settings
from routerd.wanted import key_entry, usual_entry
from tests.routerd.conftest import KEY, ModelServer, Router, StartModel, deployment, endpoint, eventually


@asynccontextmanager
async def under_load(router: Router, *, callers: int = 8, key: str = KEY) -> AsyncIterator[Counter[int]]:
    """Requests without pause while the block runs; counts their status codes."""
    counts: Counter[int] = Counter()
    stop = asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            answer = await router.call(key=key)
            counts[answer.status] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
        yield counts
        stop.set()


async def test_what_comes_while_the_last_table_is_brought_into_force_is_not_forgotten(
    settings: Settings, haproxy: HaproxyProcess
) -> None:
    first, second = (RoutingTable(endpoints=(endpoint(deployment("blue"), generation=n),)) for n in (1, 2))

    def clock() -> float:  # asked once more in the very turn that has just told of the first table
        if reconciler.in_force():
            reconciler.offer(second)
        return time.time()

    runtime = Runtime(settings.admin_socket)
    reconciler = Reconciler(settings, files=HaproxyFiles(settings), runtime=runtime, clock=clock)
    work = asyncio.create_task(reconciler.run())
    reconciler.offer(first)

    await eventually(lambda: [each.generation for each in reconciler.in_force().values()] == [2])
    work.cancel()


async def servers_of(router: Router, name: str = "blue") -> dict[str, bool]:
    """Replica -> whether it serves, as HAProxy says."""
    slot = router.reconciler.slots().find(("team-a", "credit", name))
    _, servers = await router.runtime.show_slots()
    return {s.name: s.serving for s in servers if s.slot == slot}


async def until_servers(router: Router, expected: dict[str, bool]) -> None:
    async def so() -> bool:
        return await servers_of(router) == expected

    await eventually(so)


async def in_force(router: Router, *, generation: int) -> None:
    """Wait until HAProxy runs this generation of the endpoint credit."""

    def so() -> bool:
        state = router.reconciler.in_force().get("team-a/credit")
        return state is not None and state.generation == generation

    await router.wait_for(so)


async def test_no_request_is_lost_while_replicas_come_and_go(router: Router, start_model: StartModel) -> None:
    models = [await start_model(f"blue-{n}", delay=0.003) for n in range(4)]
    worker, _ = await router.runtime.process_ids()

    def serving(*which: ModelServer, generation: int) -> RoutingTable:
        route = deployment("blue", *which, max_queue=100, max_queue_wait_ms=60_000)
        return RoutingTable(endpoints=(endpoint(route, generation=generation),))

    router.reconciler.offer(serving(models[0], generation=1))
    await in_force(router, generation=1)
    async with under_load(router) as counts:
        for turn in range(2, 26):
            chosen = [m for n, m in enumerate(models) if (turn >> (n % 3)) & 1] or models[3:]
            router.reconciler.offer(serving(*chosen, generation=turn))
            await in_force(router, generation=turn)
            await asyncio.sleep(0.02)

    assert counts.keys() == {200}
    assert counts[200] == sum(len(m.seen) for m in models)
    assert max(m.most_in_flight for m in models) == 1
    assert (await router.runtime.process_ids())[0] == worker  # by the runtime API, never by a reload


async def test_a_replica_finishes_its_request_before_it_is_taken_out(router: Router, start_model: StartModel) -> None:
    old, new = await start_model("blue-1", released=asyncio.Event()), await start_model("blue-2")
    await router.serve(endpoint(deployment("blue", old)))
    assert old.released is not None
    running = asyncio.create_task(router.call())
    await old.arrived.wait()

    await router.serve(endpoint(deployment("blue", new), generation=2))
    await until_servers(router, {"blue-1": False, "blue-2": True})
    assert (await router.call()).text == "blue-2"

    old.released.set()
    assert (await running).text == "blue-1"
    await until_servers(router, {"blue-2": True})


async def test_a_replica_that_returns_while_it_drains_serves_again(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    other = await start_model("blue-2")
    await router.serve(endpoint(deployment("blue", blue, other)))
    assert blue.released is not None
    calls = [asyncio.create_task(router.call()) for _ in range(2)]
    await blue.arrived.wait()

    await router.serve(endpoint(deployment("blue", other), generation=2))
    await until_servers(router, {"blue-1": False, "blue-2": True})
    await router.serve(endpoint(deployment("blue", blue, other), generation=3))
    await until_servers(router, {"blue-1": True, "blue-2": True})

    blue.released.set()
    assert {(await c).status for c in calls} == {200}


async def test_a_replica_that_hangs_is_cut_off_when_the_request_timeout_is_over(
    router: Router, start_model: StartModel
) -> None:
    hanging, other = await start_model("blue-1", released=asyncio.Event()), await start_model("blue-2")
    route = deployment("blue", hanging, request_timeout_ms=300)
    await router.serve(endpoint(route))
    running = asyncio.create_task(router.call())
    await hanging.arrived.wait()

    await router.serve(endpoint(replace(route, replicas=(other.replica,)), generation=2))

    assert (await running).status == 504
    await until_servers(router, {"blue-2": True})


async def test_a_replica_with_the_same_name_at_another_address_replaces_the_old_one(
    router: Router, start_model: StartModel
) -> None:
    old, new = await start_model("blue-0"), await start_model("blue-0")
    await router.serve(endpoint(deployment("blue", old)))
    assert (await router.call()).status == 200

    async with under_load(router, callers=2) as counts:
        router.reconciler.offer(RoutingTable(endpoints=(endpoint(deployment("blue", new), generation=2),)))
        await in_force(router, generation=2)
        await eventually(lambda: new.seen)

    assert counts.keys() == {200}


async def test_weights_and_keys_change_under_load_without_a_lost_or_misplaced_request(
    router: Router, start_model: StartModel
) -> None:
    blue, green = await start_model("blue-1"), await start_model("green-1")
    routes = (
        deployment("blue", blue, concurrency=50, max_queue=100),
        deployment("green", green, concurrency=50, max_queue=100),
    )
    other_key = ("other", key_hash("other"))
    await router.serve(endpoint(*routes, keys=(("primary", key_hash(KEY)), other_key)))

    async with under_load(router) as counts:
        for revision in range(2, 22):
            keys = (("primary", key_hash(KEY)), ("other", key_hash(f"other-{revision}")))
            share = revision * 5 - 5
            traffic = tuple((n, p) for n, p in (("blue", 100 - share), ("green", share)) if p)
            await router.serve(
                endpoint(*routes, keys=keys, key_revision=revision, traffic=traffic, generation=revision)
            )
            await in_force(router, generation=revision)
            assert (await router.call(key=f"other-{revision}")).status == 200
            assert (await router.call(key=f"other-{revision - 1}")).status == 401

    assert counts.keys() == {200}
    assert (await router.call()).text == "green-1"


async def test_a_rotated_key_is_reported_only_when_the_old_one_is_refused(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    start = time.monotonic()
    rotated = endpoint(deployment("blue", blue), keys=(("primary", key_hash("new")),), key_revision=2, generation=2)
    router.reconciler.offer(RoutingTable(endpoints=(rotated,)))
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/credit"].key_revision == 2)
    took = time.monotonic() - start

    assert (await router.call(key=KEY)).status == 401
    assert (await router.call(key="new")).status == 200
    assert took < 1


async def test_a_removed_endpoint_is_gone_and_its_slot_rests_before_another_gets_it(
    router: Router, start_model: StartModel
) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    await router.serve(endpoint(deployment("blue", blue)))
    slot = router.reconciler.slots().find(("team-a", "credit", "blue"))
    assert slot is not None

    await router.serve()
    assert (await router.call()).status == 404
    await router.serve(endpoint(deployment("red", red), name="fraud"))

    assert router.reconciler.slots().find(("team-a", "fraud", "red")) != slot
    assert (await router.call(name="fraud")).text == "red-1"
    await eventually(lambda: not router.reconciler.slots().resting)
    assert await router.runtime.show_map(router.settings.run_dir / "slots.map") == {
        router.reconciler.slots().find(("team-a", "fraud", "red")): "5000|red|2000|1|10"
    }


async def test_what_is_not_routed_is_reported_with_its_problem(router: Router) -> None:
    problem = Problem(type="Ready", reason=NAME_TAKEN, message="taken")
    await router.serve(endpoint(namespace="team-b", routed=False, problems=(problem,)))

    (condition,) = router.reconciler.in_force()["team-b/credit"].conditions
    assert (condition.status, condition.reason) == (False, NAME_TAKEN)
    assert (await router.call()).status == 404


async def test_a_longer_wait_moves_a_deployment_to_another_slot_without_loss_or_overlap(
    router: Router, start_model: StartModel
) -> None:
    blue, second = await start_model("blue-1", delay=0.01), await start_model("blue-2", delay=0.01)
    route = deployment("blue", blue, second, max_queue=100)
    await router.serve(endpoint(route))

    async with under_load(router) as counts:
        for turn, wait in enumerate((60_000, 2000, 60_000, 2000), start=2):
            changed = endpoint(replace(route, max_queue_wait_ms=wait), generation=turn)
            router.reconciler.offer(RoutingTable(endpoints=(changed,)))
            await in_force(router, generation=turn)
            await until_servers(router, {"blue-1": True, "blue-2": True})
            await asyncio.sleep(0.05)

    assert counts.keys() == {200}
    assert (blue.most_in_flight, second.most_in_flight) == (1, 1)


async def test_more_deployments_than_slots_reload_haproxy_once_and_lose_nothing(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    first = endpoint(deployment("blue", blue, concurrency=50, max_queue=100, max_queue_wait_ms=100))
    await router.serve(first)
    worker, _ = await router.runtime.process_ids()
    others = [await start_model(f"m{n}") for n in range(6)]
    more = [endpoint(deployment("m", m, max_queue_wait_ms=100), name=f"e{n}") for n, m in enumerate(others)]

    async with under_load(router, callers=4) as counts:
        await router.serve(first, *more)
        await asyncio.sleep(0.1)

    assert counts.keys() == {200}
    assert (await router.runtime.process_ids())[0] != worker
    assert [(await router.call(name=f"e{n}")).text for n in range(6)] == [f"m{n}" for n in range(6)]
    assert router.reconciler.slots().sizes[100] == 8


async def test_a_refused_reload_keeps_the_others_served_and_haproxy_startable(
    router: Router, start_model: StartModel
) -> None:
    models = [await start_model(f"m{n}") for n in range(3)]
    routes = [endpoint(deployment("m", m, max_queue_wait_ms=100), name=f"e{n}") for n, m in enumerate(models)]
    await router.serve(*routes[:2])
    lua = router.settings.run_dir / "routerd.lua"
    good = lua.read_text()
    lua.write_text("this is not Lua")

    changed = replace(routes[0], keys=(("primary", key_hash("new")),), generation=2)
    router.reconciler.offer(RoutingTable(endpoints=(changed, routes[1], routes[2])))
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/e0"].generation == 2)

    assert (await router.call(name="e0", key="new")).text == "m0"
    assert (await router.call(name="e1")).text == "m1"
    assert "team-a/e2" not in router.reconciler.in_force()
    assert "q100-0003" not in (router.settings.run_dir / "slots.cfg").read_text()
    lua.write_text(good)
    await router.wait_for(lambda: "team-a/e2" in router.reconciler.in_force())

    async def served() -> bool:  # a connection kept from before the reload gets one answer of the old worker
        return (await router.call(name="e2")).text == "m2"

    await eventually(served)


async def test_a_new_reconciler_adopts_what_runs_without_a_reload_or_a_lost_request(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    table = RoutingTable(endpoints=(endpoint(deployment("blue", blue, concurrency=20, max_queue=100)),))
    await router.serve(*table.endpoints)
    worker, _ = await router.runtime.process_ids()
    slots = router.reconciler.slots()

    second = Reconciler(router.settings, files=HaproxyFiles(router.settings), runtime=router.runtime)
    async with under_load(router) as counts:
        work = asyncio.create_task(second.run())
        second.offer(table)
        async with asyncio.timeout(5):
            await second.wait_change(seen=1)
        work.cancel()

    assert second.slots() == slots
    assert second.in_force() == router.reconciler.in_force()
    assert counts.keys() == {200}
    assert (await router.runtime.process_ids())[0] == worker


async def test_a_restarted_haproxy_serves_the_last_table_from_disk_and_is_followed_up(
    router: Router, start_model: StartModel
) -> None:
    blue, late = await start_model("blue-1"), await start_model("blue-2")
    await router.serve(endpoint(deployment("blue", blue)))
    assert router.process.pid is not None
    worker = os.pidfd_open((await router.runtime.process_ids())[0])

    os.kill(router.process.pid, signal.SIGKILL)
    await asyncio.to_thread(router.process.wait_ended, timeout_seconds=5)
    assert (await asyncio.to_thread(select.select, [worker], [], [], 5))[0]  # it follows its master a moment later
    os.close(worker)
    router.process.close()
    router.process.start()
    await asyncio.to_thread(router.process.wait_ready, timeout_seconds=5)

    assert (await router.call()).text == "blue-1"
    await router.serve(endpoint(deployment("blue", late), generation=2))
    await in_force(router, generation=2)
    assert (await router.call()).text == "blue-2"


async def test_what_somebody_else_changed_in_haproxy_is_put_right(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    slot = router.reconciler.slots().find(("team-a", "credit", "blue"))
    folder = router.settings.run_dir
    past = usual_entry(key_hash("sneaked past"), endpoint="credit")

    await router.runtime.execute(
        f"del map {folder}/endpoints.map credit",
        f"set server {slot}/blue-1 state maint",
        f"add map {folder}/keys.map {key_entry(key_hash('sneaked in'), endpoint='credit')} evil",
        f"add map {folder}/usual.map {past} {slot}|||evil#0badcafe:credit",
    )

    async def answered() -> bool:
        return (await router.call()).status == 200

    await eventually(answered)
    assert (await router.call(key="sneaked in")).status == 401
    assert (await router.call(key="sneaked past")).status == 401
