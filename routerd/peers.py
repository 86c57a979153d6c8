"""Which router queues a deployment's requests, when there are several. Pure.

A deployment's requests must stand in one line, so one router, its owner, counts its replicas' free places; the others
pass requests on to it. Every router computes the same ranking of all routers per deployment (rendezvous hashing), so
nobody has to agree on anything:

    ranking of credit/blue:   r2 > r4 > r1 > r3
    r2 queues it here.   r1 asks r2; while its HAProxy finds r2 dead, r4; while both are dead, it queues it here.

When a router joins or leaves, only the deployments move that it wins or held. A router knows itself as a member only
when its Service lists it: one that is starting or leaving comes last in its own rankings, as in everybody else's, and
passes on what still reaches it.

HAProxy's backends cannot be made while it runs, so there is a fixed number of *seats* (`peer1`, `peer2`, ...), one for
each other router. A seat keeps its router as long as that is a member.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from routerd import contract
from routerd.routes import Object
from routerd.routing_table import ready_replicas
from routerd.slots import SlotOwner

MOST_PEERS: Final = 15  # other routers one router can pass requests to


@dataclass(frozen=True, order=True)
class Peer:
    """One router: its pod's name, by which it is ranked, and its address."""

    name: str
    address: str


@dataclass(frozen=True)
class Ring:
    """The routers that take requests now, as one of them (`me`) sees it."""

    me: str
    members: tuple[Peer, ...] = ()

    def others(self) -> tuple[Peer, ...]:
        """The members but for this router."""
        return tuple(peer for peer in self.members if peer.name != self.me)

    def leave(self) -> "Ring":
        """The ring as it is for a router that is leaving it."""
        return replace(self, members=self.others())

    def ahead(self, owner: SlotOwner) -> tuple[Peer, ...]:
        """The routers that rather queue this deployment's requests than this one, the owner first."""
        ranked = rank(owner, names=tuple(peer.name for peer in self.members))
        before = ranked[: ranked.index(self.me)] if self.me in ranked else ranked
        by_name = {peer.name: peer for peer in self.members}
        return tuple(by_name[name] for name in before)


@lru_cache(maxsize=16_384)
def rank(owner: SlotOwner, *, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the order in which they should own a deployment: the same for everybody who knows the same names."""
    subject = "/".join(owner)
    return tuple(sorted(names, key=lambda name: hashlib.sha256(f"{name}|{subject}".encode()).digest(), reverse=True))


def read_ring(slices: Iterable[Object], *, me: str, namespace: str) -> Ring:
    """The ring from EndpointSlices: the ready pods of the Service `slipway-router` in the routers' namespace.

    All routers leave out the same ones where there are too many.
    """
    found = ready_replicas(slices).get((namespace, contract.ROUTER_SERVICE), ())
    members = sorted(Peer(name=replica.name, address=replica.address) for replica in found)
    return Ring(me=me, members=tuple(members[: MOST_PEERS + 1]))


def seat_peers(ring: Ring | None, *, seats: Mapping[int, str]) -> dict[int, str]:
    """Seat number -> address for every other router: those who sit stay, the others get the lowest free seats.

    `seats`: who sits where now. Nobody is moved while requests may be on their way through a seat.
    """
    addresses = [peer.address for peer in ring.others()] if ring else []
    kept = {number: address for number, address in seats.items() if address in addresses}
    free = (number for number in range(1, MOST_PEERS + 1) if number not in seats)
    waiting = [address for address in addresses if address not in kept.values()]
    return kept | dict(zip(free, waiting, strict=False))
