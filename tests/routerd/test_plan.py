"""What must change in HAProxy, as commands in an order that loses nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routerd.haproxy.first_passages import BackendStat
from routerd.haproxy.maps import MAP_NAMES
from routerd.haproxy.runtime import ServerStat
from routerd.peers import Peer, Ring
from routerd.plan import Plan, make_plan
from routerd.routes import Cors, DeploymentRoute, EndpointRoute, Replica, RoutingTable, ScaleSpec, Sticky
from routerd.running import Running, ServerKey
from routerd.slots import SlotTable
from routerd.wanted import PartMemory, Wanted, assign_slots, key_entry, usual_entry, want

FOLDER = Path("/run/routerd")
NOTHING = Running(maps={name: {} for name in MAP_NAMES}, backends={}, servers={})
ONE, TWO = Replica("blue-1", "10.0.0.1", 5001), Replica("blue-2", "10.0.0.2", 5001)


def deployment(name: str = "blue", **changes: object) -> DeploymentRoute:
    route = DeploymentRoute(
        name=name,
        service=name,
        workload=name,
        concurrency=2,
        max_queue=20,
        max_queue_wait_ms=500,
        request_timeout_ms=5000,
        scale=ScaleSpec(mode="fixed", min=1, max=1),
        replicas=(ONE,),
    )
    return replace(route, **changes)  # type: ignore[arg-type]


def endpoint(*deployments: DeploymentRoute, **changes: object) -> EndpointRoute:
    route = EndpointRoute(
        namespace="team-a",
        name="credit",
        uid="u",
        generation=1,
        auth_mode="key",
        key_revision=1,
        keys=(("primary", "ab" * 32),),
        traffic=((deployments[0].name, 100),),
        deployments=deployments,
    )
    return replace(route, **changes)  # type: ignore[arg-type]


def wanted_for(*endpoints: EndpointRoute, slots: SlotTable | None = None) -> tuple[Wanted, SlotTable]:
    table = RoutingTable(endpoints=endpoints)
    given = assign_slots(table, slots=slots or SlotTable(sizes={500: 8, 2000: 8}), now=0.0)
    return want(table, slots=given, hold_seconds=60), given


def plan(
    wanted: Wanted,
    slots: SlotTable,
    *,
    running: Running = NOTHING,
    draining: Mapping[ServerKey, float] | None = None,
    now: float = 0.0,
) -> Plan:
    return make_plan(wanted=wanted, running=running, slots=slots, draining=draining or {}, now=now, folder=FOLDER)


def as_running(wanted: Wanted, **changes: object) -> Running:
    """HAProxy as it is when a table is in force; `changes` apply to every server."""
    servers = {
        (slot, s.name): replace(
            ServerStat(
                slot=slot,
                name=s.name,
                address=s.address,
                port=s.port,
                max_connections=s.max_connections,
                sessions=0,
                drained=False,
                maintenance=False,
            ),
            **changes,  # type: ignore[arg-type]
        )
        for slot, found in wanted.servers.items()
        for s in found
    }
    return Running(maps=wanted.maps, backends={}, servers=servers)


def backend(slot: str, *, queued: int) -> BackendStat:
    return BackendStat(slot, 0, queued, 0, 0, 0, 0, 1, 0, 0)


def test_records_say_auth_split_and_mirror_and_the_limits_of_a_slot() -> None:
    green = deployment("green", scale=ScaleSpec(mode="auto", min=0, max=2))
    wanted, _ = wanted_for(
        endpoint(deployment(), green, traffic=(("blue", 90), ("green", 10)), mirror=(("green", 20),))
    )

    assert wanted.maps["endpoints"] == {"credit": "key|@:90:q500-0001:100:q500-0002|20:q500-0002"}
    assert wanted.maps["slots"] == {
        "q500-0001": "5000|blue|500|1|20",  # held as long as a request may queue
        "q500-0002": "5000|green|60000|1|20",  # held while the model starts from zero
    }
    assert wanted.maps["pins"] == {"credit:blue": "q500-0001", "credit:green": "q500-0002"}
    assert wanted.maps["keys"] == {f"{'q6ur' * 10}q6s=:credit": "primary#abababab"}


USUAL: list[dict[str, Any]] = [
    {},
    {"traffic": (("blue", 90), ("green", 10))},
    {"hosts": ("credit.example.org",)},
]
UNUSUAL: list[dict[str, Any]] = [
    {"auth_mode": "none"},
    {"auth_mode": "token"},
    {"traffic": ()},
    {"priorities": True},
    {"key_expiry": (("primary", 1_767_225_600),)},
    {"mirror": (("green", 10),)},
    {"access": "private"},
    {"cors": Cors(origins=("*",))},
    {"sticky": Sticky(source="cookie", name="sid"), "traffic": (("blue", 90), ("green", 10))},
]


@pytest.mark.parametrize("asks", [*USUAL, *UNUSUAL], ids=str)
def test_only_an_endpoint_that_asks_for_nothing_but_a_key_is_usual(asks: dict[str, Any]) -> None:
    """What HAProxy's short way leaves out must never be asked of it."""
    wanted, _ = wanted_for(endpoint(deployment(), deployment("green"), **asks))

    assert (asks in USUAL) == bool(wanted.maps["usual"])


@pytest.mark.parametrize(
    ("traffic", "where"),
    [
        ((("blue", 100),), "q500-0001||"),
        ((("blue", 90), ("green", 10)), "q500-0002|90|q500-0001"),
    ],
)
def test_the_short_way_knows_slots_and_key_at_one_look(traffic: tuple[tuple[str, int], ...], where: str) -> None:
    wanted, _ = wanted_for(endpoint(deployment(), deployment("green"), traffic=traffic))

    digest = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="  # ab, 32 times
    assert wanted.maps["usual"] == {f"/api/v1/endpoint/credit/score:{digest}": f"{where}|primary#abababab:credit"}


def test_a_split_among_more_deployments_than_two_is_not_usual() -> None:
    names = ("blue", "green", "red")
    wanted, _ = wanted_for(endpoint(*map(deployment, names), traffic=(("blue", 50), ("green", 25), ("red", 25))))

    assert not wanted.maps["usual"]


def test_the_short_way_is_closed_first_and_opened_last() -> None:
    usual, slots = wanted_for(endpoint(deployment()))
    private, slots = wanted_for(endpoint(deployment(), access="private"), slots=slots)

    closing = plan(private, slots, running=as_running(usual)).additions
    opening = plan(usual, slots, running=as_running(private)).additions

    assert [line.split(" ")[:3] for line in closing] == [
        ["del", "map", "/run/routerd/usual.map"],
        ["set", "map", "/run/routerd/endpoints.map"],
    ]
    assert [line.split(" ")[:3] for line in opening] == [
        ["set", "map", "/run/routerd/endpoints.map"],
        ["add", "map", "/run/routerd/usual.map"],
    ]


def test_an_open_endpoint_has_no_keys_in_haproxy() -> None:
    wanted, _ = wanted_for(endpoint(deployment(), auth_mode="none"))

    assert wanted.maps["keys"] == {}
    assert wanted.maps["endpoints"]["credit"].startswith("none|")


def test_an_endpoint_comes_in_the_order_slot_replicas_keys_pins_record() -> None:
    found = plan(*wanted_for(endpoint(deployment())))

    assert [line.split()[:2] for line in found.additions] == [
        ["add", "map"],
        ["add", "server"],
        ["enable", "server"],
        ["enable", "health"],
        *[["add", "map"]] * 4,
    ]
    files = [line.split()[2].split("/")[-1] for line in found.additions if " map " in line]
    assert files == ["slots.map", "keys.map", "pins.map", "endpoints.map", "usual.map"]
    assert found.removals == ()
    assert found.endpoints == {"credit"}


def test_nothing_is_to_do_when_everything_runs() -> None:
    wanted, slots = wanted_for(endpoint(deployment()))

    found = plan(wanted, slots, running=as_running(wanted))

    assert found.empty
    assert not found.endpoints
    assert not found.waiting


def test_a_rotated_key_is_added_before_the_old_one_is_removed() -> None:
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(endpoint(deployment(), keys=(("primary", "cd" * 32),)), slots=slots)

    found = plan(after, slots, running=as_running(before))

    old, new = key_entry("ab" * 32, endpoint="credit"), key_entry("cd" * 32, endpoint="credit")
    closed, opened = usual_entry("ab" * 32, endpoint="credit"), usual_entry("cd" * 32, endpoint="credit")
    assert found.additions == (
        f"del map /run/routerd/usual.map {closed}",  # which leaves it the long way
        f"add map /run/routerd/keys.map {new} primary#cdcdcdcd",
        f"add map /run/routerd/usual.map {opened} q500-0001|||primary#cdcdcdcd:credit",
    )
    assert found.removals == (f"del map /run/routerd/keys.map {old}",)


def test_auth_split_and_mirror_change_in_one_command() -> None:
    before, slots = wanted_for(endpoint(deployment(), deployment("green"), auth_mode="token"))
    route = endpoint(
        deployment(), deployment("green"), traffic=(("green", 100),), mirror=(("blue", 5),), auth_mode="none"
    )
    after, slots = wanted_for(route, slots=slots)

    found = plan(after, slots, running=as_running(before))

    assert found.additions == ("set map /run/routerd/endpoints.map credit none|q500-0002|5:q500-0001",)


def test_a_removed_endpoint_loses_its_names_before_its_replicas() -> None:
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(slots=slots)

    found = plan(after, slots, running=as_running(before))

    assert [line.rsplit(" ", 1)[0].split("/")[-1] for line in found.removals[:3]] == [
        "endpoints.map",
        "pins.map",
        "keys.map",
    ]
    assert found.removals[3] == "set server q500-0001/blue-1 state drain"
    assert len(found.removals) == 4  # the slot's record stays while a replica is in it
    assert found.waiting == {("q500-0001", "blue-1")}


def test_the_concurrency_of_a_running_replica_changes_in_place() -> None:
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(endpoint(deployment(concurrency=5)), slots=slots)

    assert plan(after, slots, running=as_running(before)).additions == ("set maxconn server q500-0001/blue-1 5",)


def leaving(**state: object) -> tuple[Wanted, SlotTable, Running]:
    """A replica that is not wanted any more, in some state."""
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(endpoint(deployment(replicas=(TWO,))), slots=slots)
    gone, come = as_running(before, **state), as_running(after)
    running = replace(come, servers={**gone.servers, **come.servers})
    return after, slots, running


def test_a_drained_replica_stays_while_it_answers() -> None:
    after, slots, running = leaving(drained=True, sessions=1)

    found = plan(after, slots, running=running, draining={("q500-0001", "blue-1"): 100.0}, now=104.0)

    assert found.empty
    assert found.waiting == {("q500-0001", "blue-1")}
    assert found.endpoints == frozenset()  # the endpoint is in force all the same


def test_a_drained_replica_goes_when_it_is_idle() -> None:
    after, slots, running = leaving(drained=True)

    assert plan(after, slots, running=running).removals == (
        "set server q500-0001/blue-1 state maint",
        "del server q500-0001/blue-1",
    )


def test_a_replica_that_never_finishes_is_cut_off_after_the_request_timeout() -> None:
    after, slots, running = leaving(drained=True, sessions=1)
    since = {("q500-0001", "blue-1"): 100.0}

    assert plan(after, slots, running=running, draining=since, now=109.0).empty
    assert plan(after, slots, running=running, draining=since, now=111.0).removals == (
        "shutdown sessions server q500-0001/blue-1",
        "set server q500-0001/blue-1 state maint",
        "del server q500-0001/blue-1",
    )


def test_a_replica_that_comes_back_while_draining_serves_again() -> None:
    wanted, slots = wanted_for(endpoint(deployment()))

    found = plan(wanted, slots, running=as_running(wanted, drained=True, sessions=1))

    assert found.additions == ("set server q500-0001/blue-1 state ready",)
    assert found.removals == ()


def test_a_pod_at_a_new_address_comes_under_another_name_while_the_old_one_leaves() -> None:
    before, slots = wanted_for(endpoint(deployment()))
    moved = Replica("blue-1", "10.0.0.9", 5001)
    after, slots = wanted_for(endpoint(deployment(replicas=(moved,))), slots=slots)

    found = plan(after, slots, running=as_running(before))

    assert found.additions[0].startswith("add server q500-0001/blue-1_1 10.0.0.9:5001 maxconn 2 ")
    assert found.removals == ("set server q500-0001/blue-1 state drain",)


def test_the_last_replica_is_not_taken_away_from_a_queue_that_waits_for_another() -> None:
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(endpoint(deployment(replicas=())), slots=slots)
    queue = {"q500-0001": backend("q500-0001", queued=3)}
    drained = as_running(before, drained=True)

    assert plan(after, slots, running=replace(drained, backends=queue)).empty
    assert not plan(after, slots, running=drained).empty


def moved_to_another_class() -> tuple[Wanted, Wanted, SlotTable]:
    before, slots = wanted_for(endpoint(deployment()))
    after, slots = wanted_for(endpoint(deployment(max_queue_wait_ms=2000)), slots=slots)
    return before, after, slots


def test_a_replica_moves_to_another_slot_only_when_it_left_the_first() -> None:
    before, after, slots = moved_to_another_class()

    found = plan(after, slots, running=as_running(before))

    assert not [line for line in found.additions if line.startswith("add server")]
    assert "set server q500-0001/blue-1 state drain" in found.removals
    assert found.endpoints == {"credit"}


def test_the_last_replica_of_a_given_up_slot_finishes_the_queue_first() -> None:
    before, after, slots = moved_to_another_class()
    queue = {"q500-0001": backend("q500-0001", queued=3)}

    busy = plan(after, slots, running=replace(as_running(before), backends=queue))
    drained = plan(after, slots, running=replace(as_running(before, drained=True), backends=queue))

    assert not [line for line in busy.removals if "drain" in line]
    assert "set server q500-0001/blue-1 state ready" in drained.removals


def test_a_replica_that_is_down_is_removed_without_draining() -> None:
    after, slots, running = leaving(down=True)

    assert plan(after, slots, running=running).removals == (
        "set server q500-0001/blue-1 state maint",
        "del server q500-0001/blue-1",
    )


def test_slots_stay_with_their_deployments_from_table_to_table() -> None:
    first, second = endpoint(deployment()), endpoint(deployment("aaa"), deployment())
    _, slots = wanted_for(first)
    _, later = wanted_for(second, slots=slots)

    owner = ("team-a", "credit", "blue")
    assert slots.find(owner) == later.find(owner) == "q500-0001"


def test_endpoints_that_are_not_routed_get_nothing() -> None:
    wanted, slots = wanted_for(endpoint(deployment(), routed=False))

    assert plan(wanted, slots).empty
    assert slots.owners == {}


def test_what_is_remembered_of_the_table_before_changes_nothing_but_the_time() -> None:
    memory, slots = PartMemory(), SlotTable(sizes={500: 8, 2000: 8})
    blue, other = endpoint(deployment()), endpoint(deployment(), name="fraud")
    here, there = Peer("a", "10.1.0.1"), Peer("b", "10.1.0.2")
    steps: list[tuple[tuple[EndpointRoute, ...], dict[str, Any]]] = [
        ((blue, other), {}),
        ((blue, other), {"retry_after": {"q500-0001": 7}}),
        ((blue, other), {"ring": Ring(me="a", members=(here, there)), "seats": {3: "10.1.0.2"}}),
        ((replace(blue, keys=(("primary", "cd" * 32),)), other), {}),
        ((endpoint(deployment(replicas=(ONE, TWO))), other), {}),
        ((blue,), {"hold_seconds": 5}),
        ((replace(blue, cors=Cors(origins=("https://a.example",))),), {}),
    ]
    found = []
    for endpoints, asked in steps:
        table = RoutingTable(endpoints=endpoints)
        slots = assign_slots(table, slots=slots, now=0.0)
        told = {"slots": slots, "hold_seconds": 60} | asked
        found.append(want(table, memory=memory, **told))
        assert found[-1] == want(table, **told)
    assert len({str(each) for each in found}) == len(steps)
