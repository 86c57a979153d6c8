"""Writes what is true of every OnlineEndpoint into its status, so that `kubectl get onlineendpoints` tells it alone.

    table, what HAProxy has in force, loads, decisions ──> `build_status` ──> compare ──> merge patch, by the leader

`observedGeneration` is the generation HAProxy serves, not the one last read: whoever waits for a change waits for this.

A status is written when something about it changed, at most once a second per object. Load moves all the time and alone
is no news: where only busy, queued and the use of keys differ, ten seconds pass between two writes.
`lastTransitionTime` moves only when a condition's status does; after a restart or a change of leader it is taken over
from the object, and so is the last use of a key.

`routers` says what each router pod has in force: the leader writes itself and what the others report (`colleagues`).
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from routerd import contract
from routerd.autoscale.policy import Load
from routerd.board import Board, board_of
from routerd.control import Condition, InForce, Router
from routerd.key_use import describe_key_use
from routerd.kubernetes import OnlineEndpoint
from routerd.routes import DeploymentRoute, EndpointRoute
from routerd.samples import Decision, Sample
from routerd.slots import SlotOwner
from routerd.tls import certificate_condition

Status = dict[str, Any]

_TURN_SECONDS: Final = 0.2
_WRITE_SECONDS: Final = 1.0  # between two writes of one object
_LOAD_SECONDS: Final = 10.0  # between two writes when only the load differs
_FAILURE_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 5.0
_WRITES_AT_ONCE: Final = 8
_NOTHING: Final = Load(in_flight=0, queued=0)
_LOAD_FIELDS: Final = frozenset({"busy", "queued"})

logger = logging.getLogger(__name__)


async def run_status(router: Router) -> None:
    """Keep every status true while this router leads, until cancelled."""
    if router.kube is None:
        return
    writer = StatusWriter(router, kube=router.kube, board=board_of(router))
    while True:
        await writer.turn(now=time.time())
        await asyncio.sleep(_TURN_SECONDS)


@dataclass(frozen=True)
class Seen:
    """What is known of one deployment besides its route."""

    asked: int | None = None
    sample: Sample | None = None
    decision: Decision | None = None
    elsewhere: Load = _NOTHING  # at other routers


def build_status(
    endpoint: EndpointRoute,
    *,
    in_force: InForce,
    seen: Mapping[str, Seen],
    routers: Mapping[str, InForce],
    address: str | None,
    keys: list[dict[str, str]] | None = None,
) -> Status:
    """The status of one endpoint, but for the conditions' times. `seen` is by deployment, `routers` by pod name.

    `keys`: each, with when it was used last.
    """
    status: Status = {
        "observedGeneration": in_force.generation,
        "conditions": [_condition(condition, in_force=in_force) for condition in in_force.conditions],
        "deployments": [_deployment(route, seen=seen.get(route.name, Seen())) for route in endpoint.deployments],
        "routers": [
            {"name": name, "generation": its.generation, "keyRevision": its.key_revision}
            for name, its in sorted(routers.items())
        ],
    }
    return status | ({"address": address} if address else {}) | ({"keys": keys} if keys else {})


def stamp(status: Status, *, before: Status, at: datetime) -> Status:
    """The status with what only the object remembers.

    `lastTransitionTime` is kept while a condition's status stays the same, a deployment's last decision until
    there is a new one, and the last use of a key that another router saw later.
    """
    old = {condition.get("type"): condition for condition in before.get("conditions") or ()}
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = []
    for condition in status["conditions"]:
        previous = old.get(condition["type"], {})
        same = previous.get("status") == condition["status"] and "lastTransitionTime" in previous
        conditions.append(condition | {"lastTransitionTime": previous["lastTransitionTime"] if same else moment})
    decisions = {entry.get("name"): entry.get("lastDecision") for entry in before.get("deployments") or ()}
    deployments = [
        ({"lastDecision": decision} if (decision := decisions.get(entry["name"])) else {}) | entry
        for entry in status["deployments"]
    ]
    keys = _later_uses(status.get("keys") or [], before=before.get("keys") or [])
    return status | {"conditions": conditions, "deployments": deployments} | ({"keys": keys} if keys else {})


def _later_uses(keys: list[dict[str, str]], *, before: list[dict[str, str]]) -> list[dict[str, str]]:
    """The keys with the later of both times; one of the same name with another fingerprint is another key."""
    known = {(entry.get("name"), entry.get("fingerprint")): entry.get("lastUsed", "") for entry in before}
    found = []
    for entry in keys:
        latest = max(entry.get("lastUsed", ""), known.get((entry["name"], entry["fingerprint"]), ""))
        found.append(entry | ({"lastUsed": latest} if latest else {}))
    return found


def _condition(condition: Condition, *, in_force: InForce) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": in_force.generation,
    }


def _deployment(route: DeploymentRoute, *, seen: Seen) -> dict[str, Any]:
    sample, decision, elsewhere = seen.sample, seen.decision, seen.elsewhere
    entry: dict[str, Any] = {
        "name": route.name,
        "ready": len(route.replicas),
        "busy": round((sample.in_flight if sample else 0) + elsewhere.in_flight),
        "queued": round((sample.queued + sample.held if sample else 0) + elsewhere.queued + elsewhere.held),
    }
    if seen.asked is not None:
        entry["desired"] = seen.asked
    if decision:
        entry["lastDecision"] = {
            "at": datetime.fromtimestamp(decision.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "from": decision.before,
            "to": decision.after,
            "reason": decision.reason,
        }
    return entry


def without_load(status: Status) -> Status:
    """The status without what moves with every request."""
    deployments = [
        {name: value for name, value in entry.items() if name not in _LOAD_FIELDS}
        for entry in status.get("deployments") or ()
    ]
    return {name: value for name, value in status.items() if name != "keys"} | {"deployments": deployments}


@dataclass(frozen=True)
class _Written:
    """What an object's status was last made to say, and when."""

    uid: str
    status: Status
    stamped: Status  # the same with times
    at: float


class StatusWriter:
    """Remembers what it wrote, so that it writes only what is new."""

    def __init__(self, router: Router, *, kube: AsyncClient, board: Board) -> None:
        self._router, self._kube, self._board = router, kube, board
        self._written: dict[str, _Written] = {}
        self._retry_at: dict[str, float] = {}
        self._writing = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def turn(self, *, now: float) -> None:
        """Write every status that is due."""
        table = self._router.table()
        if table is None or not self._board.leading:
            self._written.clear()  # another leader may write meanwhile
            return
        in_force = self._router.in_force()
        await asyncio.gather(
            *(
                self._write_if_due(endpoint, in_force=its, now=now)
                for endpoint in table.endpoints
                if (its := in_force.get(endpoint.key))
            )
        )
        for known in (self._written, self._retry_at):
            for key in known.keys() - table.by_key.keys():
                del known[key]

    async def _write_if_due(self, endpoint: EndpointRoute, *, in_force: InForce, now: float) -> None:
        extra = certificate_condition(self._router.certificates(), now=now)
        status = build_status(
            endpoint,
            in_force=replace(in_force, conditions=in_force.conditions + ((extra,) if extra else ())),
            seen={
                route.name: self._seen((endpoint.namespace, endpoint.name, route.name))
                for route in endpoint.deployments
            },
            routers=self._reported(endpoint.key) | {self._router.settings.pod_name: in_force},
            address=self._router.settings.address,
            keys=describe_key_use(endpoint, used=self._board.keys_used),
        )
        written = self._written.get(endpoint.key)
        if now < self._retry_at.get(endpoint.key, 0) or not _is_due(status, uid=endpoint.uid, written=written, now=now):
            return
        try:
            async with self._writing, asyncio.timeout(_REQUEST_SECONDS):
                stamped = await self._write(endpoint, status=status, now=now)
            self._written[endpoint.key] = _Written(uid=endpoint.uid, status=status, stamped=stamped, at=now)
            self._retry_at.pop(endpoint.key, None)
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            self._retry_at[endpoint.key] = now + _FAILURE_SECONDS
            gone = isinstance(error, ApiError) and error.status.code in (404, 409)
            if not gone:  # deleted or made anew a moment ago: the watch will tell
                logger.warning("Cannot write the status of %s: %r", endpoint.key, error)

    async def _write(self, endpoint: EndpointRoute, *, status: Status, now: float) -> Status:
        written = self._written.get(endpoint.key)
        if written is None:
            current = await self._kube.get(OnlineEndpoint, endpoint.name, namespace=endpoint.namespace)
            before: Status = current.get("status") or {}
        else:
            before = written.stamped
        stamped = stamp(status, before=before, at=datetime.fromtimestamp(now, UTC))
        await self._kube.patch(
            OnlineEndpoint.Status,
            endpoint.name,
            {"metadata": {"uid": endpoint.uid}, "status": stamped},
            namespace=endpoint.namespace,
            patch_type=PatchType.MERGE,
            field_manager=contract.ROUTER_FIELD_MANAGER,
        )
        return stamped

    def _reported(self, key: str) -> dict[str, InForce]:
        """What the other routers have in force for an endpoint, by pod name."""
        reports = self._board.reports.items()
        return {name: its for name, report in reports if (its := report.in_force.get(key))}

    def _seen(self, owner: SlotOwner) -> Seen:
        return Seen(
            asked=self._board.asked.get(owner),
            sample=self._board.meter.last_sample.get(owner),
            decision=self._board.last_decision.get(owner),
            elsewhere=self._board.load_elsewhere(owner),
        )


def _is_due(status: Status, *, uid: str, written: _Written | None, now: float) -> bool:
    if written is None or written.uid != uid:
        return True
    if status == written.status or now - written.at < _WRITE_SECONDS:
        return False
    return without_load(status) != without_load(written.status) or now - written.at >= _LOAD_SECONDS
