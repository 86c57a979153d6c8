"""Applies the policy: loads in, scale patches and decisions out.

Every router watches the workloads (its samples tell how many replicas are asked for); the leader alone decides. Twice
a second, so that a decision follows the load within one: load is a mean over a second, and one turn may come too early
to see all of it.

Nothing is decided before the first table and the first list of a namespace's workloads are complete, nor for a
workload that is not there, nor where the load is unknown: unknown means hold.

With several routers each counts the requests that queue at it; the leader adds up what the others report (see
`colleagues`).
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import httpx2

from routerd.autoscale.leader import Leader
from routerd.autoscale.policy import Load, Memory, Verdict, decide
from routerd.autoscale.workloads import Workloads
from routerd.board import Board, board_of
from routerd.control import Router
from routerd.routes import DeploymentRoute, EndpointRoute, RoutingTable
from routerd.samples import Decision
from routerd.settings import Settings
from routerd.slots import SlotOwner

_TURN_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 10.0  # after a refused patch
_PATCH_SECONDS: Final = 3.0  # with the election's deadline less than the lease: no patch of a former leader is late
_PATCHES_AT_ONCE: Final = 8

logger = logging.getLogger(__name__)


async def run_scaler(router: Router) -> None:
    """Take part in the election, and scale while leading, until cancelled."""
    if router.kube is None:
        return
    board = board_of(router)
    leader = Leader(router.kube, me=identity(router.settings), namespace=router.settings.pod_namespace)

    def leads() -> bool:
        return not router.settings.leader_election or leader.leads(now=time.monotonic())

    scaler = Scaler(Workloads(router.kube), board=board, leads=leads)
    async with asyncio.TaskGroup() as group:
        if router.settings.leader_election:
            group.create_task(leader.run(), name="leader election")
        while True:
            board.leading = leads()
            if table := router.table():
                scaler.others = [peer.name for peer in ring.others()] if (ring := router.ring()) else []
                scaler.workloads.follow({e.namespace for e in table.endpoints}, group=group)
                await scaler.turn(table, now=time.time())
            await asyncio.sleep(_TURN_SECONDS)


def identity(settings: Settings) -> str:
    """Who this router is in the election: the same after a restart, and never that of another router.

    Outside a cluster nobody gives it a pod UID; there the host and the run directory tell routers apart.
    """
    if settings.pod_uid != Settings.pod_uid:
        return f"{settings.pod_name}_{settings.pod_uid}"
    return f"{settings.pod_name}_{socket.gethostname()}:{settings.run_dir}"


@dataclass(frozen=True)
class _Subject:
    """One deployment of the table."""

    endpoint: EndpointRoute
    route: DeploymentRoute

    @property
    def owner(self) -> SlotOwner:
        return self.endpoint.namespace, self.endpoint.name, self.route.name


class Scaler:
    """What is remembered between turns, per deployment."""

    def __init__(self, workloads: Workloads, *, board: Board, leads: Callable[[], bool]) -> None:
        self.workloads = workloads
        self.others: Sequence[str] = ()  # the other routers, by pod name
        self._board, self._leads = board, leads
        self._patching = asyncio.Semaphore(_PATCHES_AT_ONCE)
        self._memories: dict[SlotOwner, Memory] = {}
        self._starting: dict[SlotOwner, Decision] = {}  # told, and not all of its replicas are ready
        self._retry_at: dict[SlotOwner, float] = {}

    async def turn(self, table: RoutingTable, *, now: float) -> None:
        """Look at every deployment once; decide and patch where this router leads."""
        subjects = list(_subjects(table))
        asked = {s.owner: count for s in subjects if (count := self._asked(s, now=now)) is not None}
        self._board.asked = asked
        self._tell_ready(subjects, now=now)
        if not self._board.leading:
            self._memories.clear()  # a later term starts with no memory of the load in between
            return
        verdicts = [
            (subject, verdict)
            for subject in subjects
            if subject.owner in asked and (verdict := self._decide(subject, asked=asked[subject.owner], now=now))
        ]
        await asyncio.gather(*(self._apply(subject, verdict=verdict, now=now) for subject, verdict in verdicts))
        self._forget({subject.owner for subject in subjects})

    def _decide(self, subject: _Subject, *, asked: int, now: float) -> Verdict | None:
        owner, route = subject.owner, subject.route
        if now < self._retry_at.get(owner, 0):
            return None
        self._memories[owner], verdict = decide(
            self._memories.get(owner, Memory()),
            load=self._load(owner, now=now),
            asked=asked,
            scale=route.scale,
            concurrency=route.concurrency,
            now=now,
        )
        return verdict

    async def _apply(self, subject: _Subject, *, verdict: Verdict, now: float) -> None:
        if verdict.after == verdict.before or await self._patch(subject, verdict=verdict, now=now):
            self._tell(subject.owner, verdict=verdict, now=now)

    def _load(self, owner: SlotOwner, *, now: float) -> Load | None:
        return self._board.load(owner, others=self.others, now=now)

    def _asked(self, subject: _Subject, *, now: float) -> int | None:
        return self.workloads.asked(namespace=subject.endpoint.namespace, name=subject.route.workload, now=now)

    async def _patch(self, subject: _Subject, *, verdict: Verdict, now: float) -> bool:
        namespace, name = subject.endpoint.namespace, subject.route.workload
        try:
            async with self._patching, asyncio.timeout(_PATCH_SECONDS):
                if not self._leads():  # lost while others were patched
                    return False
                await self.workloads.patch(namespace=namespace, name=name, replicas=verdict.after, now=now)
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            self._retry_at[subject.owner] = now + _RETRY_SECONDS
            logger.warning("Cannot scale %s/%s to %d: %r", namespace, name, verdict.after, error)
            return False
        logger.info("Scaled %s/%s from %d to %d: %s", namespace, name, verdict.before, verdict.after, verdict.reason)
        return True

    def _tell(self, owner: SlotOwner, *, verdict: Verdict, now: float) -> None:
        decision = self._board.history.decide(
            Decision(now, *owner, verdict.before, verdict.after, verdict.reason, verdict.figures)
        )
        self._board.last_decision[owner] = decision
        if verdict.after != verdict.before:
            self._starting[owner] = decision

    def _tell_ready(self, subjects: list[_Subject], *, now: float) -> None:
        """Complete the decisions whose replicas are all in rotation, or out of it."""
        for subject in subjects:
            decision = self._starting.get(subject.owner)
            if decision is None:
                continue
            ready, up = len(subject.route.replicas), decision.after > decision.before
            if ready >= decision.after if up else ready <= decision.after:
                del self._starting[subject.owner]
                done = self._board.history.mark_ready(decision, at=now)
                self._board.last_decision[subject.owner] = done

    def _forget(self, owners: set[SlotOwner]) -> None:
        for known in (self._memories, self._starting, self._retry_at, self._board.last_decision):
            for owner in [owner for owner in known if owner not in owners]:
                del known[owner]


def _subjects(table: RoutingTable) -> Iterator[_Subject]:
    for endpoint in table.endpoints:
        for route in endpoint.deployments:
            yield _Subject(endpoint, route)
