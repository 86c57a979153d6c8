"""Two listeners: an endpoint answers only on those its access allows, and is unknown on the other."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from routerd.haproxy.reload import reload_haproxy
from routerd.routing_table import build_table
from routerd.settings import Settings
from tests.ports import free_port
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint, online_endpoint
from tests.routerd.peers import run_router
from tests.routerd.test_reload import KeptAlive


@pytest.fixture
async def router(settings: Settings, start_model: StartModel) -> AsyncIterator[Router]:
    """A router with both listeners, and an endpoint of each kind."""
    async with run_router(replace(settings, private_port=free_port())) as (found, _):
        blue = await start_model("blue-1")
        names = {"open": "both", "shown": "public", "hidden": "private"}
        await found.serve(*(endpoint(deployment("blue", blue), name=n, access=a) for n, a in names.items()))
        yield found


async def status(router: Router, name: str, *, port: int) -> tuple[int, str | None]:
    url = f"http://{router.settings.bind}:{port}/api/v1/endpoint/{name}/score"
    async with router.session.post(url, data=b"{}", headers={"authorization": f"Bearer {KEY}"}) as answer:
        return answer.status, answer.headers.get("x-slipway-reason")


async def test_an_endpoint_answers_only_where_its_access_allows(router: Router) -> None:
    public, private = router.settings.inference_port, router.settings.private_port
    unknown = (404, "no_endpoint")  # nobody learns that it exists

    assert [await status(router, name, port=public) for name in ("open", "shown", "hidden")] == [
        (200, None),
        (200, None),
        unknown,
    ]
    assert [await status(router, name, port=private) for name in ("open", "shown", "hidden")] == [
        (200, None),
        unknown,
        (200, None),
    ]


async def test_access_changes_while_the_router_runs(router: Router, start_model: StartModel) -> None:
    public = router.settings.inference_port
    route = endpoint(deployment("blue", await start_model("blue-2")), name="hidden", access="public", generation=2)

    await router.serve(route)
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/hidden"].generation == 2)

    assert await status(router, "hidden", port=public) == (200, None)
    assert await status(router, "hidden", port=router.settings.private_port) == (404, "no_endpoint")


async def test_a_connection_from_before_a_reload_keeps_the_way_it_came(router: Router) -> None:
    through_private = replace(router.settings, inference_port=router.settings.private_port)
    connections = [await KeptAlive.open(router), await KeptAlive.open(replace(router, settings=through_private))]

    async def ask(connection: KeptAlive) -> int:
        head = f"POST /api/v1/endpoint/hidden/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        connection.writer.write(f"{head}content-length: 2\r\n\r\n{{}}".encode())
        lines = (await connection.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
        await connection.reader.readexactly(length)
        return int(lines[0].split()[1])

    assert [await ask(connection) for connection in connections] == [404, 200]
    await reload_haproxy(router.settings)
    assert [await ask(connection) for connection in connections] == [404, 200]
    for connection in connections:
        connection.writer.close()


async def test_a_private_endpoint_is_unknown_to_a_router_without_a_private_listener(
    settings: Settings, start_model: StartModel
) -> None:
    async with run_router(settings) as (router, _):
        await router.serve(endpoint(deployment("blue", await start_model("blue-1")), access="private"))

        assert (await router.call()).status == 404


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (None, "both"),
        (["public", "private"], "both"),
        (["public"], "public"),
        (["private"], "private"),
        ([], None),
        (["everybody"], None),
        ("public", "public"),
        ([["public"]], None),
    ],
)
def test_access_that_is_not_understood_keeps_the_endpoint_from_being_routed(
    written: object, expected: str | None
) -> None:
    (route,) = build_table(endpoints=[online_endpoint(access=written)], slices=[]).endpoints

    assert route.routed == (expected is not None)
    assert route.access == (expected or "both")
    assert bool(route.problems) == (expected is None)
