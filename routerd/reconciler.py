"""Makes HAProxy run what the routing table says, and says what it really runs.

Level-triggered: `offer` only leaves the newest table and wakes the loop. A turn recomputes everything:

    read back (at the start, after an error, after HAProxy was restarted)
      └─> give slots (a reload when a class has none left)
            └─> plan ──> apply ──> read the touched parts back ──> plan ... until nothing is left to do now
                  └─> write the files HAProxy would start from ──> report what is in force

An endpoint is reported with its new generation only after a plan made from what was read back holds
nothing for it any more. Replicas on their way out keep the loop looking (10 ms, then slower) without
keeping their endpoint from being in force. Only this class changes HAProxy's maps, slots and servers.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from routerd.control import InForce
from routerd.haproxy.maps import SERVING, HaproxyFiles
from routerd.haproxy.process import HaproxyError, trim_log
from routerd.haproxy.reload import reload_haproxy
from routerd.haproxy.runtime import CommandRefused, Runtime, RuntimeUnavailable
from routerd.in_force import InForceBoard
from routerd.peers import Ring
from routerd.plan import Plan, make_plan
from routerd.read_back import ReadBack
from routerd.routes import RoutingTable
from routerd.running import Running, ServerKey, serving_replicas
from routerd.settings import Settings
from routerd.slots import NoFreeSlotError, SlotTable
from routerd.wanted import PartMemory, Wanted, assign_slots, want, without_slots

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 0.5
RELOAD_PAUSE_SECONDS: Final = 5.0  # reloads double the concurrency for a moment: never one after the other
_SOONEST_LOOK: Final = 0.01
_SLOWEST_LOOK: Final = 0.25
_ROUNDS: Final = 50  # plans in one turn; each moves a replica or an entry one step on
_EXPECTED_REFUSAL: Final = "del server"  # its last connection is just closing: the next look tries again


class Reconciler:
    """The one writer of HAProxy's state; `clock` gives unix seconds."""

    def __init__(
        self,
        settings: Settings,
        *,
        files: HaproxyFiles,
        runtime: Runtime,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._files = files
        self._runtime = runtime
        self._clock = clock
        self._read_back = ReadBack(settings, files=files, runtime=runtime, clock=clock)
        self._slots = files.read_slots()
        self._sizes = self._slots.sizes  # what HAProxy is known to start with
        self._table: RoutingTable | None = None
        self._ring: Ring | None = None
        self._leaving = False
        self._running: Running | None = None
        self._worker: int | None = None
        self._reload_not_before = 0.0
        self._draining: dict[ServerKey, float] = {}
        self._retry_after: dict[str, int] = {}
        self._board = InForceBoard()
        self._memory = PartMemory()
        self._wake = asyncio.Event()
        self._look = _SOONEST_LOOK
        self._reached: tuple[object, ...] | None = None  # what was in force, with nothing left to do

    def offer(self, table: RoutingTable) -> None:
        """Take a new table; it is in force when `in_force` says so."""
        if table != self._table:
            self._table = table
            self._wake.set()

    def offer_ring(self, ring: Ring) -> None:
        """Take a new list of the routers; asked for before the first table counts, where there may be several."""
        if ring != self._ring:
            self._ring = ring
            self._wake.set()

    def leave_ring(self) -> None:
        """Leave new requests to the other routers, as far as there are any."""
        self._leaving = True
        self._wake.set()

    def table(self) -> RoutingTable | None:
        """The newest table offered."""
        return self._table

    def ring(self) -> Ring | None:
        """The newest list of the routers; None while it is not known, or this router is the only one."""
        return self._ring

    def slots(self) -> SlotTable:
        """Which slot serves which deployment."""
        return self._slots

    def in_force(self) -> Mapping[str, InForce]:
        """What HAProxy has, by `namespace/name`, as of the last read-back."""
        return self._board.states

    def settled(self) -> bool:
        """HAProxy answers, and the first table has been brought into force."""
        return self._board.settled and self._running is not None

    def report_service_time(self, *, slot: str, seconds: float) -> None:
        """Keep Retry-After of a slot at the whole seconds one request takes (1 to 300)."""
        retry_after = min(300, max(1, math.ceil(seconds)))
        if self._retry_after.get(slot, 1) != retry_after:
            self._retry_after = {**self._retry_after, slot: retry_after}
            self._wake.set()

    async def wait_change(self, *, seen: int) -> int:
        """Wait until what is in force is newer than version `seen`; the version."""
        return await self._board.wait_change(seen=seen)

    async def run(self) -> None:
        """Turn until cancelled."""
        pause = 0.0
        while True:
            try:
                delay = await self._turn()
                pause = 0.0
            except (RuntimeUnavailable, CommandRefused, HaproxyError) as error:
                self._note_trouble(error)
                delay = pause = min(0.5, pause * 2 or 0.05)
            await self._sleep(delay)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _note_trouble(self, error: Exception) -> None:
        if self._running is not None:
            log.warning("HAProxy does not follow, reading it back: %s", error)
        self._running = None
        self._wake.clear()

    async def _turn(self) -> float:
        """One turn; seconds until the next one unless something wakes it."""
        await self._check_worker()
        trim_log(self._settings.run_dir)
        running = self._running
        self._running = await (self._read_back.read_due(running) if running else self._read_back.read_all())
        if self._table is None or (self._settings.peer_port and self._ring is None):
            return HEARTBEAT_SECONDS
        table, asked = self._table, self._asked()
        if self._is_reached():
            await self._wake_slots()
            return HEARTBEAT_SECONDS
        self._give_slots(table)
        await self._reload_for_slots(table)
        served, unserved = without_slots(table, slots=self._slots, missing=self._missing_slots())
        plan, wanted = await self._converge(served)
        replicas = serving_replicas(self._running, slots=self._slots)
        await self._board.publish(table, replicas=replicas, pending=plan.endpoints | unserved)
        self._files.write_servers(self._startable(), servers=wanted.servers)
        await self._tell_peers()
        await self._wake_slots()
        self._reached = None
        if not plan.waiting:
            self._look = _SOONEST_LOOK
            if not unserved:
                self._reached = (*asked, self._slots, self._running)
            return HEARTBEAT_SECONDS
        self._look = min(_SLOWEST_LOOK, self._look * 1.5)
        return self._look

    def _asked(self) -> tuple[object, ...]:
        """All that others ask for; each is replaced when it changes, never changed in place, and at any await."""
        return self._table, self._ring, self._leaving, self._retry_after

    def _is_reached(self) -> bool:
        now = (*self._asked(), self._slots, self._running)
        return self._reached is not None and all(then is it for then, it in zip(self._reached, now, strict=True))

    async def _check_worker(self) -> None:
        """A worker with another process id was started from the files: nothing believed of it counts."""
        worker, _ = await self._runtime.process_ids()
        if self._worker is not None and worker != self._worker:
            log.warning("HAProxy was restarted: process %s follows %s", worker, self._worker)
            self._running = None
        self._worker = worker

    async def _read_touched(self, plan: Plan) -> None:
        running = self._running or await self._read_back.read_all()
        self._running = await self._read_back.read_touched(running, plan=plan)

    def _give_slots(self, table: RoutingTable) -> None:
        """Assign slots and keep the outcome on disk before HAProxy hears of it."""
        slots = self._slots
        while True:
            try:
                self._slots = assign_slots(table, slots=slots, now=self._clock())
                break
            except NoFreeSlotError as full:
                slots = slots.grow(wait_ms=full.wait_ms)
        self._files.write_slots(self._startable())

    def _startable(self) -> SlotTable:
        """The slot table with no more slots than HAProxy is known to start with: what belongs on disk."""
        known = SlotTable(sizes=self._sizes).names()
        owners = {slot: self._slots.owners[slot] for slot in known if slot in self._slots.owners}
        return SlotTable(sizes=self._sizes, owners=owners, resting=self._slots.resting)

    def _missing_slots(self) -> set[str]:
        """Slots in use that HAProxy does not have."""
        return self._slots.owners.keys() - (self._running.backends.keys() if self._running else set())

    async def _reload_for_slots(self, table: RoutingTable) -> None:
        """Reload HAProxy when it lacks slots; while it refuses, the others are served without them."""
        if not self._missing_slots() or self._clock() < self._reload_not_before:
            return
        self._reload_not_before = self._clock() + RELOAD_PAUSE_SECONDS
        log.info("Reloading HAProxy for more slots: %s", dict(self._slots.sizes))
        self._files.write_slots(self._slots)
        wanted = self._want(table)
        self._write_maps(wanted)
        self._files.write_servers(self._slots, servers=wanted.servers)
        try:
            await reload_haproxy(self._settings)
        except HaproxyError as error:
            log.error("More slots are needed, and missing: %s", error)  # one line per attempt
            self._files.write_slots(self._startable())
            return
        self._worker, self._sizes = None, self._slots.sizes
        self._running = await self._read_back.read_all()
        log.info("Reloaded HAProxy for more slots: %s", dict(self._slots.sizes))

    def _want(self, table: RoutingTable) -> Wanted:
        return want(
            table,
            slots=self._slots,
            hold_seconds=self._settings.hold_seconds,
            retry_after=self._retry_after,
            ring=self._ring.leave() if self._ring and self._leaving else self._ring,
            seats=self._running.seats if self._running else {},
            memory=self._memory,
        )

    def _write_maps(self, wanted: Wanted) -> None:
        self._files.write_token_keys(wanted.token_keys)
        self._files.write_seats(wanted.seats)
        self._files.write_maps(wanted.maps)

    async def _converge(self, table: RoutingTable) -> tuple[Plan, Wanted]:
        """Apply plans until one holds nothing to do now; that one, and what it leads to."""
        wanted = self._want(table)
        self._files.write_token_keys(wanted.token_keys)
        plan = self._plan(wanted)
        if plan.waiting:  # what leaves is judged by its queue and its requests of this moment
            await self._read_touched(plan)
            plan = self._plan(wanted)
        for _ in range(_ROUNDS):
            self._draining = {key: self._draining.get(key, self._clock()) for key in plan.waiting}
            if plan.empty:
                break
            await self._apply(plan)
            await self._read_touched(plan)
            plan = self._plan(wanted)
        else:
            raise HaproxyError(f"HAProxy does not reach what is wanted; next would be {plan.additions[:3]}")
        self._write_maps(wanted)
        return plan, wanted

    def _plan(self, wanted: Wanted) -> Plan:
        if self._running is None:
            raise RuntimeUnavailable("HAProxy has not been read back")
        return make_plan(
            wanted=wanted,
            running=self._running,
            slots=self._slots,
            draining=self._draining,
            now=self._clock(),
            folder=self._settings.run_dir,
            peer_port=self._settings.peer_port,
        )

    async def _apply(self, plan: Plan) -> None:
        await self._runtime.change(*plan.additions)
        try:
            await self._runtime.change(*plan.removals)
        except CommandRefused as refused:
            if not refused.command.startswith(_EXPECTED_REFUSAL):
                raise

    async def _tell_peers(self) -> None:
        """Answer other routers' checks with yes from the first table in force until this router leaves."""
        if not self._settings.peer_port:
            return
        path = self._files.map_path("state")
        told = SERVING in await self._runtime.show_map(path)
        if told and self._leaving:
            await self._runtime.change(f"del map {path} {SERVING}")
        elif not told and not self._leaving:
            await self._runtime.change(f"add map {path} {SERVING} 1")

    async def _wake_slots(self) -> None:
        """Let rested slots serve again, once HAProxy calls them empty."""
        rest, now = self._settings.slot_rest_seconds, self._clock()
        due = [slot for slot, since in self._slots.resting.items() if now - since >= rest]
        if not due:
            return
        backends, servers = await self._runtime.show_slots(*due)
        busy = {s.slot for s in servers} | {b.slot for b in backends.values() if b.in_flight or b.queued}
        free = [slot for slot in due if slot not in busy]
        self._slots = self._slots.wake(now=now, rest_seconds=rest, empty=free)
        self._files.write_slots(self._startable())
