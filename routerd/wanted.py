"""What HAProxy should have: a routing table and its slots as map entries and servers. Pure.

Every routed deployment has one slot, of the class of its longest wait (`assign_slots`). Names lead to slots through
maps, and one record per slot holds the limits its rules read:

    endpoints   name -> auth|slot or split|mirror   keys    SHA-256:name -> name of the key, and when it ends
    pins        name:deployment -> slot             tokens  name:kid -> algorithm|file|issuer|audience
    slots       slot -> limits                      hosts   host -> name
    usual       path:SHA-256 -> slots and key       cors    origin|name -> seconds
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final, NamedTuple

from routerd.contract import ENDPOINT_PATH, SCORING_PATH
from routerd.haproxy.config import Server
from routerd.haproxy.maps import MAP_NAMES
from routerd.haproxy.peers import seat_name
from routerd.peers import Ring, seat_peers
from routerd.routes import DeploymentRoute, EndpointRoute, RoutingTable
from routerd.slots import SlotOwner, SlotTable, slot_wait_ms, wait_class

_USUAL_SPLIT: Final = 2  # deployments the short way chooses among

Place = tuple[str, int, int, bool]  # address, port, concurrency, in rotation
Rotation = Mapping[str, frozenset[Place]]  # slot -> its replicas
Maps = Mapping[str, Mapping[str, str]]  # map name (slots, keys, pins, endpoints, ...) -> entries


@dataclass(frozen=True)
class Wanted:
    """What HAProxy should have."""

    maps: Maps
    servers: Mapping[str, tuple[Server, ...]]  # slot -> replicas
    token_keys: Mapping[str, str] = field(default_factory=dict)  # name of the file -> public key (PEM)
    seats: Mapping[int, str] = field(default_factory=dict)  # seat -> address of another router
    rotation: Rotation = field(default_factory=dict)  # every replica; slots without any are absent


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


class Stand(NamedTuple):
    """Where a deployment stands in HAProxy: its slot, Retry-After in seconds, and the seats of the routers ahead."""

    slot: str
    retry_after: int
    ahead: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """What one endpoint adds to what HAProxy should have."""

    maps: Maps
    servers: Mapping[str, tuple[Server, ...]]
    rotation: Rotation
    token_keys: Mapping[str, str]


class PartMemory:
    """The parts of the endpoints that were wanted last: of a thousand, few have changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[EndpointRoute, tuple[Stand, ...], float, _Part]] = {}

    def find(self, endpoint: EndpointRoute, *, stands: tuple[Stand, ...], hold_seconds: float) -> _Part:
        """The endpoint's part, made anew if anything it follows from has changed."""
        known = self._known.get(endpoint.key)
        if known is not None and known[0] is endpoint and known[1:3] == (stands, hold_seconds):
            return known[3]
        part = _make_part(endpoint, stands=stands, hold_seconds=hold_seconds)
        self._known[endpoint.key] = endpoint, stands, hold_seconds, part
        return part

    def forget_others(self, table: RoutingTable) -> None:
        """Forget endpoints that are in the table no longer."""
        if len(self._known) > len(table.endpoints):
            self._known = {key: known for key, known in self._known.items() if key in table.by_key}


def want(
    table: RoutingTable,
    *,
    slots: SlotTable,
    hold_seconds: float,
    retry_after: Mapping[str, int] | None = None,
    ring: Ring | None = None,
    seats: Mapping[int, str] | None = None,
    memory: PartMemory | None = None,
) -> Wanted:
    """HAProxy's maps and servers for a table whose deployments all have their slots.

    `retry_after`: whole seconds per slot, 1 where it is not known. `ring`: the routers, where there are several;
    `seats`: where they sit now. `memory`: what was found for the table before; it only saves time.
    """
    memory = memory or PartMemory()
    seated = seat_peers(ring, seats=seats or {})
    seat_of = {address: seat_name(number) for number, address in seated.items()}
    by_owner = {owner: slot for slot, owner in slots.owners.items()}
    maps: dict[str, dict[str, str]] = {name: {} for name in MAP_NAMES}
    servers: dict[str, tuple[Server, ...]] = {}
    rotation: dict[str, frozenset[Place]] = {}
    token_keys: dict[str, str] = {}

    def stand(owner: SlotOwner) -> Stand:
        slot = by_owner[owner]
        ahead = ring.ahead(owner) if ring else ()
        seats_ahead = tuple(seat_of[peer.address] for peer in ahead if peer.address in seat_of)
        return Stand(slot, retry_after.get(slot, 1) if retry_after else 1, seats_ahead)

    for endpoint in table.routed():
        stands = tuple(stand((endpoint.namespace, endpoint.name, d.name)) for d in endpoint.deployments)
        part = memory.find(endpoint, stands=stands, hold_seconds=hold_seconds)
        for name, entries in part.maps.items():
            maps[name].update(entries)
        servers.update(part.servers)
        rotation.update(part.rotation)
        token_keys.update(part.token_keys)
    memory.forget_others(table)
    return Wanted(maps=maps, servers=servers, token_keys=token_keys, seats=seated, rotation=rotation)


def _make_part(endpoint: EndpointRoute, *, stands: Sequence[Stand], hold_seconds: float) -> _Part:
    placed = list(zip(endpoint.deployments, stands, strict=True))
    slots = {deployment.name: stand.slot for deployment, stand in placed}
    maps = {
        "endpoints": {endpoint.name: endpoint_record(endpoint, slots=slots)},
        "keys": dict(_key_entries(endpoint)),
        "usual": dict(_usual_entries(endpoint, slots=slots)),
        "tokens": dict(_token_entries(endpoint)),
        "hosts": dict.fromkeys(endpoint.hosts, endpoint.name),
        "cors": dict(_cors_entries(endpoint)),
        "pins": {f"{endpoint.name}:{name}": slot for name, slot in slots.items()},
        "slots": {
            stand.slot: slot_record(deployment, hold_seconds=hold_seconds, retry_after=stand.retry_after)
            + _extras(endpoint, seats=stand.ahead)
            for deployment, stand in placed
        },
    }
    servers = {stand.slot: _servers(deployment) for deployment, stand in placed}
    return _Part(
        maps={name: entries for name, entries in maps.items() if entries},
        servers=servers,
        rotation={
            slot: frozenset((s.address, s.port, s.max_connections, True) for s in replicas)
            for slot, replicas in servers.items()
            if replicas
        },
        token_keys={token_key_file(key.pem): key.pem for issuer in endpoint.issuers for key in issuer.keys},
    )


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
        yield key_entry(digest, endpoint=endpoint.name), f"@{ends[name]}@{told}" if name in ends else told


def key_entry(digest: str, *, endpoint: str) -> str:
    """Under what HAProxy looks up a key, whose SHA-256 is given as hexadecimal digits."""
    return f"{_base64(digest)}:{endpoint}"


def usual_entry(digest: str, *, endpoint: str) -> str:
    """Under what the short way looks up a key (see key_entry), together with the path of the model."""
    return f"{ENDPOINT_PATH}{endpoint}{SCORING_PATH}:{_base64(digest)}"


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _usual_entries(endpoint: EndpointRoute, *, slots: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`q500-0001|||primary#1a2b3c4d:credit`, for each key of an endpoint that asks for what the short way knows.

    Of two deployments `q500-0002|90|q500-0001|primary#1a2b3c4d:credit`: 90 percent go to 0001, the rest to 0002. Under
    the whole path: what is found has nothing odd about it.
    """
    if not _is_usual(endpoint):
        return
    (first, percent), *others = endpoint.traffic
    where = f"{slots[others[0][0]]}|{percent}|{slots[first]}" if others else f"{slots[first]}||"
    for name, digest in endpoint.keys:
        told = f"{where}|{name}#{key_fingerprint(digest)}:{endpoint.name}"
        yield usual_entry(digest, endpoint=endpoint.name), told


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


def _cors_entries(endpoint: EndpointRoute) -> Iterator[tuple[str, str]]:
    if endpoint.cors is not None:
        for origin in endpoint.cors.origins:
            yield f"{origin}|{endpoint.name}", str(endpoint.cors.max_age_seconds)


def endpoint_record(endpoint: EndpointRoute, *, slots: Mapping[str, str]) -> str:
    """`key|@:90:q500-0001:100:q500-0002|5:q500-0002||private`: auth, slot or split, mirror, (sticky,) access.

    `key|q500-0001|`: one deployment takes all the traffic. `key||`: none does. A split that is decided by what the
    request carries says so in a fourth part, `|header:x-session`; an endpoint that answers on one listener only says
    that in a fifth.
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
    return f"{endpoint.auth_mode}|{slot}|" + f"{mirror}|{sticky}|{access}".rstrip("|")


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
    return endpoint.auth_mode == "key" and not asks_more and sum(weights) == 100 and len(weights) <= _USUAL_SPLIT


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
