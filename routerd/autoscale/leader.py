"""One router scales and writes status; the others are ready to. A Lease says which.

    follower ──the lease is free, or its holder has not renewed it for its whole duration──> leader
    leader ──could not renew before the deadline, or found another holder──> follower

Clocks of machines differ, so nobody compares the lease's times with the own clock: what counts is how long *this*
process has been looking at an unchanged lease. A leader stops acting before others may start (deadline 10 s, duration
15 s), and gives the lease back when it ends, so that a planned change of leader takes a second instead of fifteen.

`judge` decides; `Leader` talks to the API server. Writes carry the resourceVersion that was read: of two that try
at once, the API server lets one through.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import httpx2
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource

from routerd import contract

Lease: Final[Any] = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds of the election."""

    lease: int = 15  # others take an unchanged lease after this
    renew: float = 5.0
    deadline: float = 10.0  # a leader that could not renew for so long stops acting; less than `lease`
    follow: float = 1.0  # between two looks of a follower


class Step(Enum):
    """What to do about the lease now."""

    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(frozen=True)
class Sight:
    """The lease's spec as last read, and since when (monotonic seconds) it has not changed."""

    spec: Mapping[str, Any]
    since: float

    def look(self, spec: Mapping[str, Any], *, now: float) -> "Sight":
        """The sight after reading the lease again."""
        return self if spec == self.spec else Sight(spec=spec, since=now)


def judge(sight: Sight, *, me: str, now: float) -> Step:
    """Whether to take, renew or leave the lease alone."""
    holder = sight.spec.get("holderIdentity")
    if holder == me:
        return Step.RENEW
    if not holder:
        return Step.TAKE
    duration = float(sight.spec.get("leaseDurationSeconds") or Timing.lease)
    return Step.TAKE if now - sight.since >= duration else Step.WAIT


def claim(spec: Mapping[str, Any], *, me: str, seconds: int, at: datetime) -> dict[str, Any]:
    """The spec of the lease when `me` holds it for `seconds`; taking it over counts as one more transition."""
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    mine = spec.get("holderIdentity") == me
    transitions = int(spec.get("leaseTransitions") or 0)
    return {
        "holderIdentity": me,
        "leaseDurationSeconds": seconds,
        "acquireTime": spec.get("acquireTime", stamp) if mine else stamp,
        "renewTime": stamp,
        "leaseTransitions": transitions if mine or not spec else transitions + 1,
    }


_DEFAULT: Final = Timing()


class Leader:
    """This process's part in the election."""

    def __init__(self, kube: AsyncClient, *, me: str, namespace: str, timing: Timing = _DEFAULT) -> None:
        self._kube, self._me, self._namespace, self._timing = kube, me, namespace, timing
        self._sight = Sight(spec={}, since=time.monotonic())
        self._renewed: float | None = None
        self._failing = False

    def leads(self, *, now: float) -> bool:
        """Whether this process may act as the leader at `now` (monotonic seconds)."""
        return self._renewed is not None and now - self._renewed < self._timing.deadline

    async def run(self) -> None:
        """Take part until cancelled, then give the lease back."""
        try:
            while True:
                await self._turn()
                calm = self._renewed is not None and not self._failing
                await asyncio.sleep(self._timing.renew if calm else self._timing.follow)
        finally:
            if self._renewed is not None:
                self._renewed = None
                with suppress(httpx2.HTTPError, TimeoutError, ValueError):
                    async with asyncio.timeout(2):
                        await self._give_back()

    async def _turn(self) -> None:
        started, before = time.monotonic(), self._renewed is not None
        try:
            async with asyncio.timeout(self._timing.renew):
                held = await self._try()
            self._renewed = started if held else None
            self._failing = False
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            if not self._failing:
                logger.warning("Cannot reach the lease %s: %r", contract.LEADER_LEASE, error)
            self._failing = True
            if self._renewed is not None and not self.leads(now=time.monotonic()):
                self._renewed = None
        if before != (self._renewed is not None):
            logger.info("Leading" if self._renewed is not None else "Following")

    async def _try(self) -> bool:
        """Read the lease and write it if it is ours to write; whether it is held now."""
        lease = await self._read()
        spec: dict[str, Any] = dict((lease or {}).get("spec") or {})
        self._sight = self._sight.look(spec, now=time.monotonic())
        if judge(self._sight, me=self._me, now=time.monotonic()) is Step.WAIT:
            return False
        spec = claim(spec, me=self._me, seconds=self._timing.lease, at=datetime.now(UTC))
        try:
            await self._write(lease, spec=spec)
        except ApiError as error:
            if error.status.code == 409:  # somebody else was faster
                return False
            raise
        self._sight = self._sight.look(spec, now=time.monotonic())
        return True

    async def _read(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._kube.get(Lease, contract.LEADER_LEASE, namespace=self._namespace)
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise
        return found

    async def _write(self, lease: dict[str, Any] | None, *, spec: dict[str, Any]) -> None:
        if lease is None:
            metadata = {"name": contract.LEADER_LEASE, "namespace": self._namespace}
            await self._kube.create(Lease({**_KIND, "metadata": metadata, "spec": spec}))
        else:
            await self._kube.replace(Lease({**_KIND, "metadata": lease["metadata"], "spec": spec}))

    async def _give_back(self) -> None:
        lease = await self._read()
        if lease and lease.get("spec", {}).get("holderIdentity") == self._me:
            await self._write(lease, spec={**lease["spec"], "holderIdentity": ""})
            logger.info("Gave the lease back")


_KIND: Final = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
