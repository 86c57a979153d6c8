"""What must change in HAProxy: wanted minus running, as an ordered list of commands. Pure.

    RoutingTable + SlotTable ──want──> Wanted ┐
                                              ├──make_plan──> Plan (commands to add, then to remove)
    HAProxy ──────────────read back─> Running ┘

The order inside a plan keeps every request whole: slot records and replicas before the names that lead to
them, new keys before the endpoint's record (public keys are loaded before the tokens that name them), and everything
that goes away after everything that comes. One `set map` of an endpoint's record moves its authentication, split and
mirror together. The short way for usual requests is closed first and opened last: whoever is not in its map is judged
by the record.

A replica's life in a slot:

    (absent) ──add, enable──> serving ──drain──> drained ──idle, or out of time──> maintenance ──del──> (absent)
                                 ^───────────ready──┘

A replica is known by its address; its name is only how HAProxy lists it.

Two rules protect the model. A replica that is being moved between two slots (its deployment's longest wait
changed) is added to the new one only when it is gone from the old one, so its concurrency is never doubled.
And the last replica of a slot nobody wants any more is drained only when nobody queues there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from routerd.haproxy.config import Server
from routerd.haproxy.maps import MAP_NAMES
from routerd.haproxy.peers import take_seats
from routerd.haproxy.runtime import ServerStat
from routerd.running import Running, ServerKey
from routerd.slots import SlotTable
from routerd.wanted import Wanted

DRAIN_SLACK_SECONDS: Final = 5.0
_LONGEST_REQUEST_MS: Final = 300_000

# Where the endpoint's name stands in the entries of a map: which part between which separators.
_NAME_IN_KEY: Final = {
    "endpoints": (0, ":"),
    "pins": (0, ":"),
    "tokens": (0, ":"),
    "keys": (1, ":"),
    "usual": (4, "/"),
    "cors": (1, "|"),
}


@dataclass(frozen=True)
class Plan:
    """Commands for HAProxy's admin socket, and which parts to read back after them.

    `removals` may only run when every addition was accepted. `waiting`: replicas on their way out, so
    look again soon. `endpoints`: names of endpoints whose wanted state is not reached yet.
    """

    additions: tuple[str, ...] = ()
    removals: tuple[str, ...] = ()
    slots: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    seats: frozenset[int] = frozenset()
    waiting: frozenset[ServerKey] = frozenset()
    endpoints: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Nothing to send now."""
        return not self.additions and not self.removals


def make_plan(
    *,
    wanted: Wanted,
    running: Running,
    slots: SlotTable,
    draining: Mapping[ServerKey, float],
    now: float,
    folder: Path,
    peer_port: int = 0,
) -> Plan:
    """The commands that lead from what runs to what is wanted; empty when nothing is to do now.

    `draining`: since when (same clock as `now`, seconds) each replica is on its way out.
    `folder`: where the maps lie, which is how HAProxy names them.
    """
    work = _Work(wanted=wanted, running=running, slots=slots, draining=draining, now=now, folder=folder)
    seated, freed, seats = take_seats(wanted.seats, running=running.seats, peer_port=peer_port)
    work.additions += seated
    work.come("slots")
    work.servers_come()
    names = [name for name in MAP_NAMES if name != "slots"]
    work.additions += work.gone("usual")
    for name in names:
        work.come(name)
    for name in reversed(names):
        if name != "usual":
            work.removals += work.gone(name)
    work.servers_go()
    work.removals += [*work.gone("slots"), *freed]
    return Plan(
        additions=tuple(work.additions),
        removals=tuple(work.removals),
        slots=frozenset(work.touched_slots),
        maps=frozenset(work.touched_maps),
        seats=frozenset(seats),
        waiting=frozenset(work.waiting),
        endpoints=frozenset(work.endpoints),
    )


@dataclass
class _Work:
    """One planning run: the two sides, and the lists being filled."""

    wanted: Wanted
    running: Running
    slots: SlotTable
    draining: Mapping[ServerKey, float]
    now: float
    folder: Path
    additions: list[str] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    touched_slots: set[str] = field(default_factory=set)
    touched_maps: set[str] = field(default_factory=set)
    waiting: set[ServerKey] = field(default_factory=set)
    endpoints: set[str] = field(default_factory=set)

    def come(self, name: str) -> None:
        """Entries that are new or have another value."""
        has, wants = self.running.maps[name], self.wanted.maps[name]
        if has == wants:  # most often
            return
        for key, value in wants.items():
            if has.get(key) != value:
                verb = "set" if key in has else "add"
                if name == "tokens":
                    self.additions.append(f"load token-key {value.split('|')[1]}")
                self.additions.append(f"{verb} map {self._file(name)} {key} {value}")
                self._touch(name, key)

    def gone(self, name: str) -> Iterator[str]:
        """How entries nobody wants are deleted; a slot's record stays while replicas are in it."""
        gone = self.running.maps[name].keys() - self.wanted.maps[name].keys()
        if not gone:
            return
        busy = {slot for slot, _ in self.running.servers} if name == "slots" else set()
        for key in gone - busy:
            self._touch(name, key)
            yield f"del map {self._file(name)} {key}"

    def __post_init__(self) -> None:
        """Most slots have what they should: of 1,000 only those that differ are looked at one by one."""
        wants, has = self.wanted.rotation, self.running.rotation
        self._differ = {slot for slot in wants.keys() | has.keys() if wants.get(slot) != has.get(slot)}
        self._servers = {key: s for key, s in self.running.servers.items() if s.slot in self._differ}
        self._has = {(s.slot, s.address, s.port): s for s in self._servers.values()}
        self._wants = {(slot, s.address, s.port) for slot in self._differ for s in self.wanted.servers.get(slot, ())}

    def servers_come(self) -> None:
        """Replicas that are missing, resting or limited otherwise than wanted."""
        leaving = {(address, port) for slot, address, port in self._has.keys() - self._wants}
        for slot in [slot for slot in self.wanted.servers if slot in self._differ]:
            for server in self.wanted.servers[slot]:
                has = self._has.get((slot, server.address, server.port))
                if has is not None:
                    self._adjust(has, server)
                elif (server.address, server.port) in leaving:
                    self._pending((slot, server.name))
                else:
                    self._add(slot, server)

    def servers_go(self) -> None:
        """Replicas that are not wanted (any more, or not at this address)."""
        for key, has in sorted(self._servers.items()):
            if (has.slot, has.address, has.port) not in self._wants:
                self._retire(key, has)

    def _add(self, slot: str, server: Server) -> None:
        name = f"{slot}/{self._free_name(slot, server.name)}"
        self.additions += [
            f"add server {name} {server.options()}",
            f"enable server {name}",
            f"enable health {name}",
        ]
        self._touch_slot(slot)

    def _free_name(self, slot: str, name: str) -> str:
        """The pod's name, or with a number while its predecessor of the same name is on its way out."""
        candidates = (name if n == 0 else f"{name}_{n}" for n in count())
        return next(c for c in candidates if (slot, c) not in self.running.servers)

    def _adjust(self, has: ServerStat, server: Server) -> None:
        name = f"{has.slot}/{has.name}"
        if has.max_connections != server.max_connections:
            self.additions.append(f"set maxconn server {name} {server.max_connections}")
            self._touch_slot(has.slot)
        if not has.serving:
            self.additions.append(f"set server {name} state ready")
            self._touch_slot(has.slot)

    def _retire(self, key: ServerKey, has: ServerStat) -> None:
        name = f"{has.slot}/{has.name}"
        overdue = self.now - self.draining.get(key, self.now) > drain_limit(self.running.maps["slots"].get(has.slot))
        self.waiting.add(key)
        if has.serving and not has.down:
            if self._still_needed(has.slot) and not overdue:
                return
            self.removals.append(f"set server {name} state drain")
            self.touched_slots.add(has.slot)
            return
        if has.drained and not overdue and self._still_needed(has.slot) and not self._served(has.slot):
            # A request came in between the last look and the drain: finish the queue first.
            self.removals.append(f"set server {name} state ready")
            self.touched_slots.add(has.slot)
            return
        if has.sessions and overdue:
            self.removals.append(f"shutdown sessions server {name}")
            self.touched_slots.add(has.slot)
        if (not has.sessions and not self._queue_would_end(has.slot)) or overdue:
            self.removals += [f"set server {name} state maint", f"del server {name}"]
            self.touched_slots.add(has.slot)

    def _still_needed(self, slot: str) -> bool:
        """Somebody queues in a slot that is being given up and these are its last replicas."""
        if self.wanted.servers.get(slot):
            return False
        stat = self.running.backends.get(slot)
        return slot not in self.slots.owners and stat is not None and stat.queued > 0

    def _queue_would_end(self, slot: str) -> bool:
        """HAProxy refuses all that queue in a slot when its last replica enters maintenance: let them wait."""
        stat = self.running.backends.get(slot)
        return stat is not None and stat.queued > 0 and not self._served(slot)

    def _served(self, slot: str) -> bool:
        return any(s.serving and not s.down for s in self.running.servers.values() if s.slot == slot)

    def _pending(self, key: ServerKey) -> None:
        self.waiting.add(key)
        self._touch_slot(key[0])

    def _touch(self, name: str, key: str) -> None:
        self.touched_maps.add(name)
        if name == "slots":
            self._note_owner(key)
        elif name == "hosts":
            sides = (self.wanted.maps[name], self.running.maps[name])
            self.endpoints |= {side[key] for side in sides if key in side}
        else:
            part, separator = _NAME_IN_KEY[name]
            self.endpoints.add(key.split(separator)[part])

    def _touch_slot(self, slot: str) -> None:
        self.touched_slots.add(slot)
        self._note_owner(slot)

    def _note_owner(self, slot: str) -> None:
        owner = self.slots.lookup(slot)
        if owner:
            self.endpoints.add(owner[1])

    def _file(self, name: str) -> str:
        return str(self.folder / f"{name}.map")


def drain_limit(record: str | None) -> float:
    """Seconds a replica may take to finish: the slot's request timeout, and a little more."""
    parts = (record or "").split("|")
    timeout_ms = int(parts[0]) if parts[0].isdigit() else _LONGEST_REQUEST_MS
    return timeout_ms / 1000 + DRAIN_SLACK_SECONDS
