"""The leader knows what the other routers carry, and never takes silence for zero."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from routerd.admin.report import describe, read
from routerd.admin.server import run_admin
from routerd.autoscale.policy import Load
from routerd.board import Board, Report, board_of
from routerd.colleagues import run_colleagues
from routerd.control import InForce
from routerd.daemon import Daemon
from routerd.haproxy.first_passages import BackendStat
from routerd.load import run_load
from routerd.settings import Settings
from routerd.slots import SlotTable
from routerd.status import StatusWriter
from tests.ports import free_port
from tests.routerd.conftest import StartModel, deployment, endpoint, eventually
from tests.routerd.observed import until
from tests.routerd.peers import BLUE, SECRET, Fleet

PATIENT = {"max_queue": 200, "max_queue_wait_ms": 60_000, "request_timeout_ms": 60_000}


@pytest.fixture
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    """Two routers that found each other; both measure and tell, and ask when they lead."""
    found = Fleet(replace(settings, peer_port=free_port(), admin_token=SECRET))
    async with found.stack:
        for name in ("r1", "r2"):
            await found.add(name, run_load, run_colleagues, run_admin)
        found.introduce("r1", "r2")
        await found.serve()
        await found.until_met("r1", "r2")
        yield found


async def test_the_leader_counts_what_queues_at_another_router(fleet: Fleet, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await fleet.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, leader = fleet.ranked("r1", "r2")
    board = board_of(fleet.daemons[leader.settings.pod_name])
    board.leading = True
    others = [owner.settings.pod_name]
    assert blue.released is not None

    calls = [asyncio.create_task(leader.call()) for _ in range(4)]
    load = await until(
        lambda: (
            found
            if (found := board.load(BLUE, others=others, now=time.time())) and (found.in_flight, found.queued) == (1, 3)
            else None
        )
    )
    own = board.meter.load(BLUE, now=time.time())
    blue.released.set()
    await asyncio.gather(*calls)

    assert load.busy == 4
    assert own == Load(in_flight=0, queued=0)  # it only passed them on
    assert board.reports[others[0]].in_force["team-a/credit"] == InForce(generation=1, key_revision=1)


async def test_the_status_tells_the_load_and_the_key_revision_of_all_routers(
    fleet: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await fleet.serve(endpoint(deployment("blue", blue, **PATIENT)))
    owner, leader = fleet.ranked("r1", "r2")
    daemon = fleet.daemons[leader.settings.pod_name]
    board = board_of(daemon)
    board.leading = True
    assert blue.released is not None
    written = Written()
    writer = StatusWriter(daemon, kube=written, board=board)  # type: ignore[arg-type]

    calls = [asyncio.create_task(leader.call()) for _ in range(3)]

    async def told() -> bool:
        written.status.clear()
        writer._written.clear()
        await writer.turn(now=time.time())
        found = written.status.get("deployments", [{}])[0]
        return (found.get("busy"), found.get("queued")) == (1, 2)

    await eventually(told)
    blue.released.set()
    await asyncio.gather(*calls)

    assert written.status["routers"] == [
        {"name": "r1", "generation": 1, "keyRevision": 1},
        {"name": "r2", "generation": 1, "keyRevision": 1},
    ]
    assert owner is not leader


class Written:
    """Where a status is written to, in place of an API server."""

    def __init__(self) -> None:
        self.status: dict[str, list[dict[str, object]]] = {}

    async def get(self, *_: object, **__: object) -> dict[str, object]:
        return {}

    async def patch(self, _kind: object, _name: str, body: dict[str, dict[str, list[dict[str, object]]]], **__: object):  # type: ignore[no-untyped-def]
        self.status.update(body["status"])


async def test_a_router_that_falls_silent_makes_loads_unknown_until_it_is_no_member(
    fleet: Fleet, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await fleet.serve(endpoint(deployment("blue", blue, **PATIENT)))
    board = board_of(fleet.daemons["r1"])
    board.leading = True

    def load(*others: str) -> Load | None:
        return board.load(BLUE, others=others, now=time.time())

    await eventually(lambda: load("r2") is not None)
    fleet.daemons["r2"].runtime.path = fleet.settings.run_dir / "nowhere"  # it cannot read its HAProxy any more
    await eventually(lambda: load("r2") is None)

    fleet.introduce("r1")
    await eventually(lambda: "r2" not in board.reports)
    assert load() is not None


def test_a_router_that_never_looked_does_not_say_that_nothing_is_going_on(settings: Settings) -> None:
    daemon = Daemon(settings)
    told = describe(daemon, board=board_of(daemon))

    assert told["loads"] is None


def test_loads_add_up_and_one_stale_report_makes_the_sum_unknown() -> None:
    board = Board()
    slots = SlotTable(sizes={500: 1}, owners={"q500-0001": BLUE})
    for requests in (0, 5):
        stat = BackendStat("q500-0001", 1, 2, requests, 0, 0, 0, 1, 0, 0)
        board.meter.look({stat.slot: stat}, held={}, slots=slots, now=100.9)
    fresh = Report(at=100.0, loads={BLUE: Load(3, 4, 1, 7)}, in_force={})
    board.reports = {"r2": fresh, "r3": Report(at=100.0, loads={}, in_force={})}

    assert board.load(BLUE, others=["r2", "r3"], now=101.0) == Load(4, 6, 1, 12)
    assert board.load(BLUE, others=["r2", "r3", "r4"], now=101.0) is None
    assert board.load(BLUE, others=["r2"], now=104.0) is None
    board.reports["r3"] = Report(at=101.0, loads=None, in_force={})
    assert board.load(BLUE, others=["r2", "r3"], now=101.0) is None


@pytest.mark.parametrize(
    "document", [None, [], {}, {"loads": {"a": [1]}, "in_force": {}}, {"loads": {}, "in_force": 3}]
)
def test_an_answer_that_is_no_report_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"report of a router|unpack|not enough"):
        read(document, at=0.0)
