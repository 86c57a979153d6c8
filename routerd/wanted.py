"""What HAProxy should have: a routing table and its slots as map entries and servers. Pure.

Every routed deployment has one slot, of the class of its longest wait (`assign_slots`). Names lead to slots through
maps, and one record per slot holds the limits its rules read:

    endpoints   name -> auth|slot or split|mirror   keys    SHA-256:name -> name of the key, and when it ends
    pins        name:deployment -> slot             tokens  name:kid -> algorithm|file|issuer|audience
    slots       slot -> limits                      hosts   host -> name
                                                    cors    origin|name -> seconds
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

from routerd.haproxy.config import QUICK_SPLIT, Server
from routerd.haproxy.maps import MAP_NAMES
from routerd.haproxy.peers import seat_name
from routerd.peers import Ring, seat_peers
from routerd.routes import DeploymentRoute, EndpointRoute, RoutingTable
from routerd.slots import SlotOwner, SlotTable, slot_wait_ms, wait_class

Place = tuple[str, str, int, int, bool]  # slot, address, port, concurrency, in rotation
Maps = Mapping[str, Mapping[str, str]]  # map name (slots, keys, pins, endpoints, ...) -> entries


@dataclass(frozen=True)
class Wanted:
    """What HAProxy should have."""

    maps: Maps
    servers: Mapping[str, tuple[Server, ...]]  # slot -> replicas
    token_keys: Mapping[str, str] = field(default_factory=dict)  # name of the file -> public key (PEM)
    seats: Mapping[int, str] = field(default_factory=dict)  # seat -> address of another router

    @cached_property
    def rotation(self) -> frozenset[Place]:
        """Every replica, in rotation."""
        servers = self.servers.items()
        return frozenset((slot, s.address, s.port, s.max_connections, True) for slot, all_ in servers for s in all_)


def assign_slots(table: RoutingTable, *, slots: SlotTable, now: float) -> SlotTable:
    """The slot table with one slot of the right wait class per routed deployment, and no others.

    Raises slots.NoFreeSlotError; `now` (unix seconds) is when the slots left over began to rest.
    """
    waits: dict[SlotOwner, int] = {
        (e.namespace, e.name, d.name): d.max_queue_wait_ms for e in table.routed() for d in e.deployments
    }
    held: set[SlotOwner] = set()
    for slot, owner in sorted(slots.owners.items()):
        fits = owner in waits and slot_wait_ms(slot) == wait_class(waits[owner], classes=slots.sizes)
        if fits and owner not in held:
            held.add(owner)
        else:
            slots = slots.release(slot, now=now)
    for owner in sorted(waits.keys() - held):
        slots, _ = slots.assign(owner, wait_ms=waits[owner])
    return slots


def without_slots(table: RoutingTable, *, slots: SlotTable, missing: Set[str]) -> tuple[RoutingTable, frozenset[str]]:
    """The table without the deployments whose slots HAProxy lacks, and the names of their endpoints."""
    if not missing:
        return table, frozenset()
    homeless = {owner for slot, owner in slots.owners.items() if slot in missing}
    endpoints = tuple(_keep(e, homeless=homeless) for e in table.endpoints)
    return RoutingTable(endpoints=endpoints), frozenset(name for _, name, _ in homeless)


def _keep(endpoint: EndpointRoute, *, homeless: Set[SlotOwner]) -> EndpointRoute:
    gone = {name for namespace, owner, name in homeless if (namespace, owner) == (endpoint.namespace, endpoint.name)}
    return replace(
        endpoint,
        deployments=tuple(d for d in endpoint.deployments if d.name not in gone),
        traffic=tuple(t for t in endpoint.traffic if t[0] not in gone),
        mirror=tuple(m for m in endpoint.mirror if m[0] not in gone),
    )


def want(
    table: RoutingTable,
    *,
    slots: SlotTable,
    hold_seconds: float,
    retry_after: Mapping[str, int] | None = None,
    ring: Ring | None = None,
    seats: Mapping[int, str] | None = None,
) -> Wanted:
    """HAProxy's maps and servers for a table whose deployments all have their slots.

    `retry_after`: whole seconds per slot, 1 where it is not known. `ring`: the routers, where there are several;
    `seats`: where they sit now.
    """
    seated = seat_peers(ring, seats=seats or {})
    seat_of = {address: seat_name(number) for number, address in seated.items()}
    by_owner = {owner: slot for slot, owner in slots.owners.items()}
    maps: dict[str, dict[str, str]] = {name: {} for name in MAP_NAMES}
    servers: dict[str, tuple[Server, ...]] = {}
    token_keys: dict[str, str] = {}
    for endpoint in table.routed():
        found = {d.name: by_owner[endpoint.namespace, endpoint.name, d.name] for d in endpoint.deployments}
        maps["endpoints"][endpoint.name] = endpoint_record(endpoint, slots=found)
        maps["keys"].update(_key_entries(endpoint))
        maps["tokens"].update(_token_entries(endpoint))
        token_keys |= {token_key_file(key.pem): key.pem for issuer in endpoint.issuers for key in issuer.keys}
        maps["hosts"].update(dict.fromkeys(endpoint.hosts, endpoint.name))
        if endpoint.cors:
            age = str(endpoint.cors.max_age_seconds)
            maps["cors"].update({f"{origin}|{endpoint.name}": age for origin in endpoint.cors.origins})
        for deployment in endpoint.deployments:
            slot = found[deployment.name]
            maps["pins"][f"{endpoint.name}:{deployment.name}"] = slot
            retry = (retry_after or {}).get(slot, 1)
            record = slot_record(deployment, hold_seconds=hold_seconds, retry_after=retry)
            ahead = ring.ahead((endpoint.namespace, endpoint.name, deployment.name)) if ring else ()
            seats_ahead = [seat_of[peer.address] for peer in ahead if peer.address in seat_of]
            maps["slots"][slot] = record + _extras(endpoint, seats=seats_ahead)
            servers[slot] = _servers(deployment)
    return Wanted(maps=maps, servers=servers, token_keys=token_keys, seats=seated)


def key_fingerprint(digest: str) -> str:
    """What tells two keys of one name apart, in logs and counts: the start of the key's SHA-256."""
    return digest[:8]


def _key_entries(endpoint: EndpointRoute) -> Iterator[tuple[str, str]]:
    """`primary#1a2b3c4d`, or `@1767225600@primary#1a2b3c4d` of a key that ends then (unix seconds)."""
    if endpoint.auth_mode != "key":
        return
    ends = dict(endpoint.key_expiry)
    for name, digest in endpoint.keys:
        told = f"{name}#{key_fingerprint(digest)}"
        yield f"{digest.upper()}:{endpoint.name}", f"@{ends[name]}@{told}" if name in ends else told


def token_key_file(pem: str) -> str:
    """The name of a public key's file: its content's digest, so that a file never changes."""
    return hashlib.sha256(pem.encode()).hexdigest()[:32]


def _token_entries(endpoint: EndpointRoute) -> Iterator[tuple[str, str]]:
    if endpoint.auth_mode != "token":
        return
    for issuer in endpoint.issuers:
        for key in issuer.keys:
            claims = f"{issuer.issuer}|{issuer.audience}"
            yield f"{endpoint.name}:{key.kid}", f"{key.algorithm}|{token_key_file(key.pem)}|{claims}"


def endpoint_record(endpoint: EndpointRoute, *, slots: Mapping[str, str]) -> str:
    """`key|@:90:q500-0001:100:q500-0002|5:q500-0002||private`: auth, slot or split, mirror, (sticky,) access.

    `key|q500-0001|`: one deployment takes all the traffic. `key||`: none does. `usual` in place of `key` says that the
    endpoint asks for nothing that HAProxy's short way leaves out. A split that is decided by what the request carries
    says so in a fourth part, `|header:x-session`; an endpoint that answers on one listener only says that in a fifth.
    """
    slot, sticky = "", ""
    if [percent for _, percent in endpoint.traffic] == [100]:
        slot = slots[endpoint.traffic[0][0]]
    elif endpoint.traffic:
        totals = accumulate(percent for _, percent in endpoint.traffic)
        slot = ":".join(
            ["@", *(f"{total}:{slots[name]}" for total, (name, _) in zip(totals, endpoint.traffic, strict=True))]
        )
        sticky = f"{endpoint.sticky.source}:{endpoint.sticky.name}" if endpoint.sticky else ""
    mirror = "".join(f"{percent}:{slots[name]}" for name, percent in endpoint.mirror[:1])
    access = "" if endpoint.access == "both" else endpoint.access
    auth = "usual" if _is_usual(endpoint) else endpoint.auth_mode
    return f"{auth}|{slot}|" + f"{mirror}|{sticky}|{access}".rstrip("|")


def _is_usual(endpoint: EndpointRoute) -> bool:
    asks_more = (
        endpoint.key_expiry
        or endpoint.priorities
        or endpoint.mirror
        or endpoint.sticky
        or endpoint.cors
        or endpoint.access != "both"
    )
    weights = [percent for _, percent in endpoint.traffic]
    return endpoint.auth_mode == "key" and not asks_more and sum(weights) == 100 and len(weights) <= QUICK_SPLIT


def slot_record(deployment: DeploymentRoute, *, hold_seconds: float, retry_after: int) -> str:
    """`5000|blue|500|1|20`: request timeout in ms, deployment, hold in ms, Retry-After in s, longest queue.

    A model that may be scaled to zero is waited for while it starts, any other as long as in a queue.
    """
    from_zero = deployment.scale.mode == "auto" and deployment.scale.min == 0
    hold_ms = int(hold_seconds * 1000) if from_zero else deployment.max_queue_wait_ms
    return f"{deployment.request_timeout_ms}|{deployment.name}|{hold_ms}|{max(1, retry_after)}|{deployment.max_queue}"


def _extras(endpoint: EndpointRoute, *, seats: Sequence[str]) -> str:
    """`|p|peer2:peer1|credit`, or as much of it as there is.

    `p`: callers may say how urgent they are. Then the seats of the routers that rather queue this, and what they know
    it by.
    """
    parts = ("p" if endpoint.priorities else "", ":".join(seats), endpoint.name if seats else "")
    return f"|{'|'.join(parts)}".rstrip("|")


def _servers(deployment: DeploymentRoute) -> tuple[Server, ...]:
    return tuple(
        Server(name=r.name, address=r.address, port=r.port, max_connections=deployment.concurrency)
        for r in deployment.replicas
    )
