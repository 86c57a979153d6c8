"""Who owns a deployment: the same answer everywhere, and few changes when a router joins or leaves. Pure."""

from collections import Counter

from routerd.peers import MOST_PEERS, Peer, Ring, rank, read_ring, seat_peers
from tests.routerd.conftest import router_slice

OWNERS = [("team-a", f"endpoint-{n}", "blue") for n in range(600)]
FOUR = tuple(Peer(f"r{n}", f"10.0.0.{n}") for n in range(1, 5))


def owner_of(deployment: tuple[str, str, str], *members: Peer) -> str:
    return rank(deployment, names=tuple(peer.name for peer in members))[0]


def test_all_routers_agree_on_the_order_and_each_knows_who_is_before_it() -> None:
    for deployment in OWNERS[:50]:
        order = [next(p for p in FOUR if p.name == name) for name in rank(deployment, names=("r1", "r2", "r3", "r4"))]
        for place, peer in enumerate(order):
            assert Ring(me=peer.name, members=FOUR).ahead(deployment) == tuple(order[:place])


def test_every_router_owns_its_share() -> None:
    shares = Counter(owner_of(deployment, *FOUR) for deployment in OWNERS)

    assert all(100 < share < 200 for share in shares.values())


def test_only_the_deployments_of_a_router_that_leaves_move_and_they_go_to_the_next_in_rank() -> None:
    for deployment in OWNERS:
        before = rank(deployment, names=("r1", "r2", "r3", "r4"))
        after = owner_of(deployment, *FOUR[:3])
        assert after == (before[1] if before[0] == "r4" else before[0])


def test_a_router_that_is_not_a_member_puts_all_others_before_itself() -> None:
    ring = Ring(me="r4", members=FOUR[:3])

    assert len(ring.ahead(OWNERS[0])) == 3
    assert Ring(me="r4", members=FOUR).leave() == ring
    assert Ring(me="r1").ahead(OWNERS[0]) == ()


def test_the_ring_is_what_the_routers_own_service_lists() -> None:
    slices = [router_slice(r2="10.0.0.2", r1="10.0.0.1"), {**router_slice(r3="10.0.0.3"), "metadata": {}}]

    ring = read_ring(slices, me="r1", namespace="slipway-system")

    assert ring == Ring(me="r1", members=FOUR[:2])
    assert read_ring(slices, me="r1", namespace="elsewhere").members == ()


def test_a_router_keeps_its_seat_while_others_come_and_go() -> None:
    seats = seat_peers(Ring(me="r1", members=FOUR), seats={})
    assert seats == {1: "10.0.0.2", 2: "10.0.0.3", 3: "10.0.0.4"}

    seats = seat_peers(Ring(me="r1", members=(FOUR[0], *FOUR[2:])), seats=seats)
    assert seats == {2: "10.0.0.3", 3: "10.0.0.4"}
    assert seat_peers(Ring(me="r1", members=FOUR), seats=seats)[1] == "10.0.0.2"


def test_more_routers_than_seats_are_left_out_by_all_alike() -> None:
    many = router_slice(**{f"r{n:02}": f"10.0.0.{n}" for n in range(1, 30)})

    first, last = (read_ring([many], me=me, namespace="slipway-system") for me in ("r01", "r29"))

    assert first.members == last.members
    assert len(first.others()) == MOST_PEERS
    assert len(last.ahead(OWNERS[0])) == MOST_PEERS + 1
