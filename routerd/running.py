"""What HAProxy has, as its admin socket told. Pure."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property

from routerd.haproxy.first_passages import BackendStat
from routerd.haproxy.runtime import ServerStat
from routerd.slots import SlotOwner, SlotTable
from routerd.wanted import Maps, Place, Rotation

ServerKey = tuple[str, str]  # slot, server name


@dataclass(frozen=True)
class Running:
    """What HAProxy has, as read back."""

    maps: Maps
    backends: Mapping[str, BackendStat]
    servers: Mapping[ServerKey, ServerStat]
    seats: Mapping[int, str] = field(default_factory=dict)  # seat -> address of the router that sits there

    @cached_property
    def rotation(self) -> Rotation:
        """Every replica, and whether it serves; slots without any are absent."""
        return _rotation_of(self.servers.values())

    def renew(
        self,
        *,
        maps: Maps,
        seats: Mapping[int, str],
        backends: Mapping[str, BackendStat],
        servers: Iterable[ServerStat],
        slots: Set[str],
    ) -> "Running":
        """With other maps and seats, and with what was read again of these `slots`."""
        again = {(s.slot, s.name): s for s in servers}
        found = Running(
            maps=maps,
            backends={**self.backends, **backends},
            servers={key: s for key, s in self.servers.items() if s.slot not in slots} | again,
            seats=seats,
        )
        others = {slot: places for slot, places in self.rotation.items() if slot not in slots}
        vars(found)["rotation"] = others | _rotation_of(again.values())  # where cached_property keeps it
        return found


def _rotation_of(servers: Iterable[ServerStat]) -> dict[str, frozenset[Place]]:
    places: dict[str, list[Place]] = {}
    for s in servers:
        places.setdefault(s.slot, []).append((s.address, s.port, s.max_connections, s.serving))
    return {slot: frozenset(found) for slot, found in places.items()}


def serving_replicas(running: Running | None, *, slots: SlotTable) -> dict[SlotOwner, int]:
    """How many replicas take requests now, by (namespace, endpoint, deployment)."""
    counts: dict[SlotOwner, int] = {}
    for server in running.servers.values() if running else ():
        owner = slots.lookup(server.slot)
        if owner and server.serving and not server.down:
            counts[owner] = counts.get(owner, 0) + 1
    return counts
