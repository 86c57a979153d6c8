"""What HAProxy has, read back: all of it at first, then what was touched, and in turn a share of the rest.

    read_all ──> Running ──read_touched (after each plan)──> Running ──read_due (at each turn)──> Running

A thousand slots take a fifth of a second to read, in which no change could be made. So what nobody touched is looked
at fifty slots at a time, and the whole round as rarely as keeps it from costing more than a hundredth of a core.
"""

import time
from collections.abc import Callable
from typing import Final

from routerd.haproxy.maps import MAP_NAMES, HaproxyFiles
from routerd.haproxy.runtime import Runtime
from routerd.plan import Plan
from routerd.running import Running
from routerd.settings import Settings

ROUND_SECONDS: Final = 5.0  # between two rounds at least
SLOTS_AT_A_TIME: Final = 50
_SHARE: Final = 0.01  # of a core


class ReadBack:
    """Reads HAProxy's maps, slots and servers; `clock` gives unix seconds. Every method raises RuntimeUnavailable."""

    def __init__(
        self, settings: Settings, *, files: HaproxyFiles, runtime: Runtime, clock: Callable[[], float]
    ) -> None:
        self._files = files
        self._runtime = runtime
        self._clock = clock
        self._has_seats = bool(settings.peer_port)
        self._round: list[str] = []  # slots that are still to be read in this round
        self._next_round = 0.0
        self._cost = 0.0  # of this round: seconds of CPU

    async def read_all(self) -> Running:
        """Everything HAProxy has."""
        self._cost = 0.0
        began = time.thread_time()
        backends, servers = await self._runtime.show_slots()
        maps, seats = await self._show_maps(), await self._show_seats()
        self._end_part(began)
        self._end_round()
        return Running(maps=maps, backends=backends, servers={(s.slot, s.name): s for s in servers}, seats=seats)

    async def read_touched(self, running: Running, *, plan: Plan) -> Running:
        """What runs now, where the parts a plan did not touch are believed unchanged."""
        touched = plan.slots | {slot for slot, _ in plan.waiting}
        maps = dict(running.maps)
        for name in plan.maps:
            maps[name] = await self._runtime.show_map(self._files.map_path(name))
        seats = await self._show_seats() if plan.seats else running.seats
        backends, servers = await self._runtime.show_slots(*sorted(touched)) if touched else ({}, [])
        return running.renew(maps=maps, seats=seats, backends=backends, servers=servers, slots=touched)

    async def read_due(self, running: Running) -> Running:
        """What runs now, as far as it is time to look; `running` itself where nothing is different."""
        if self._clock() <= self._next_round:
            return running
        began = time.thread_time()
        maps, seats = running.maps, running.seats
        if not self._round:
            self._cost = 0.0
            maps, seats = await self._show_maps(), await self._show_seats()
            self._round = sorted(running.backends)
        part, self._round = self._round[:SLOTS_AT_A_TIME], self._round[SLOTS_AT_A_TIME:]
        backends, servers = await self._runtime.show_slots(*part) if part else ({}, [])
        found = running.renew(maps=maps, seats=seats, backends=backends, servers=servers, slots=set(part))
        self._end_part(began)
        if not self._round:
            self._end_round()
        return running if found == running else found

    async def _show_maps(self) -> dict[str, dict[str, str]]:
        return {name: await self._runtime.show_map(self._files.map_path(name)) for name in MAP_NAMES}

    async def _show_seats(self) -> dict[int, str]:
        return await self._runtime.show_seats() if self._has_seats else {}

    def _end_part(self, began: float) -> None:
        self._cost += time.thread_time() - began

    def _end_round(self) -> None:
        self._round = []
        self._next_round = self._clock() + max(ROUND_SECONDS, self._cost / _SHARE)
