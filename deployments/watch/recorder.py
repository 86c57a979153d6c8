"""The one writer of what was seen: Deployment.state and observed, Endpoint.observed, EndpointKey.last_used_at.

Events only mark a deployment as "look again". The recorder takes what is marked, computes each status anew from the
objects in memory and from the rows, writes it when it differs, tells the pages, and wakes the Operations it concerns.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import close_old_connections, connections
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from clusters.kube.kinds import DEPLOYMENTS, ONLINE_ENDPOINTS, PODS, REPLICA_SETS
from deployments.models import Deployment, Endpoint
from deployments.observed import merge_observed, wake_operations
from deployments.queries.asked import asked_of
from deployments.status import Asked, Seen, status_of
from deployments.watch.logs import LogFollower
from deployments.watch.view import Key, TargetView
from studio.live import notify

_GATHER: Final = 0.02  # seconds in which events of the same moment become one look
UNREACHABLE_AFTER: Final = timedelta(seconds=10)

Mark = tuple[int, str, str]  # (target id, endpoint, deployment)

log = structlog.get_logger(__name__)


class Recorder:
    """One thread; `mark` may be called from any other."""

    def __init__(
        self, *, view_of: Callable[[int], TargetView | None], follower: LogFollower, stop: threading.Event
    ) -> None:
        self._view_of = view_of
        self._follower = follower
        self._stop = stop
        self._marked: set[Mark] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, *, timeout: float) -> None:
        """After `stop`: wait until it has ended."""
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout)

    def mark(self, target: int, keys: Iterable[Key]) -> None:
        """Look at these again, soon."""
        with self._changed:
            self._marked |= {(target, *key) for key in keys if key[0]}
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                marks = self._take()
                if marks:
                    self._record_safely(marks)
        finally:
            connections.close_all()

    def _take(self) -> set[Mark]:
        with self._changed:
            if not self._marked:
                self._changed.wait(0.5)
            if not self._marked:
                close_old_connections()
                return set()
        self._stop.wait(_GATHER)
        with self._changed:
            marks, self._marked = self._marked, set()
            return marks

    def _record_safely(self, marks: set[Mark]) -> None:
        try:
            self.record(marks, now=timezone.now())
        except Exception:  # a look that broke is looked at again at the next change; the others must go on
            log.exception("Status not recorded", marks=len(marks))

    def record(self, marks: set[Mark], *, now: datetime) -> None:
        """Compute and write what is marked."""
        for target in {mark[0] for mark in marks}:
            view = self._view_of(target)
            if view is None:
                continue
            keys = {mark[1:] for mark in marks if mark[0] == target}
            self._record_deployments(target, view, keys=keys, now=now)
            self._record_endpoints(target, view, names={endpoint for endpoint, name in keys if not name})

    def _record_deployments(self, target: int, view: TargetView, *, keys: set[Key], now: datetime) -> None:
        trouble = view.trouble(before=now - UNREACHABLE_AFTER)
        if not view.synced and not trouble:
            return
        rows = Deployment.objects.select_related("endpoint__target__cluster").filter(
            endpoint__target_id=target, endpoint__name__in={key[0] for key in keys}, name__in={key[1] for key in keys}
        )
        found = [row for row in rows if (row.endpoint.name, row.name) in keys]
        asked = asked_of(found)
        for row in found:
            seen = self._seen(view, row=row, trouble=trouble)
            _write(row, asked=asked[row.pk], seen=seen)

    def _seen(self, view: TargetView, *, row: Deployment, trouble: str) -> Seen:
        if trouble:
            return Seen(trouble=f"Cluster {row.endpoint.target.cluster} cannot be asked: {trouble}")
        key = (row.endpoint.name, row.name)
        workloads, pods = view.of(DEPLOYMENTS, key), view.of(PODS, key)
        return Seen(
            workload=workloads[0] if workloads else None,
            replica_sets=view.of(REPLICA_SETS, key),
            pods=pods,
            tails=self._follower.tails({pod["metadata"]["uid"] for pod in pods}),
        )

    def _record_endpoints(self, target: int, view: TargetView, *, names: set[str]) -> None:
        for row in Endpoint.objects.filter(target_id=target, name__in=names):
            objects = view.of(ONLINE_ENDPOINTS, (row.name, ""))
            observed = _router_says(objects[0]) if objects else {"ready": None, "reason": "", "message": ""}
            used = _note_key_use(row, (objects[0].get("status") or {}).get("keys") or []) if objects else False
            if merge_observed(row.pk, observed) or used:
                notify(f"endpoint-{row.pk}")
                notify(f"workspace-{row.workspace_id}-endpoints")


def _write(row: Deployment, *, asked: Asked, seen: Seen) -> None:
    status = status_of(asked, seen=seen)
    observed = status.to_json()
    changed = row.observed != observed or row.state != status.state
    if changed:
        Deployment.objects.filter(pk=row.pk).update(state=status.state, observed=observed)
        notify(f"deployment-{row.pk}")
        notify(f"endpoint-{row.endpoint_id}")
        if row.state != status.state or row.observed.get("sentence") != status.sentence:
            notify(f"workspace-{row.endpoint.workspace_id}-endpoints")
    if changed or row.deleting or row.endpoint.deleting:
        wake_operations(deployment=row.pk, endpoint=row.endpoint_id if row.endpoint.deleting else None)


def _note_key_use(row: Endpoint, reported: Sequence[Mapping[str, str]]) -> bool:
    """Write down when routers saw each key last; whether that is news. A key made anew was not used yet."""
    news = 0
    for entry in reported:
        at = parse_datetime(entry.get("lastUsed", ""))
        if at is not None:
            same = row.keys.filter(name=entry["name"], sha256__startswith=entry["fingerprint"])
            news += same.exclude(last_used_at__gte=at).update(last_used_at=at)
    return news > 0


def _router_says(obj: dict[str, Any]) -> dict[str, Any]:
    status = obj.get("status") or {}
    ready: dict[str, Any] = next((each for each in status.get("conditions") or [] if each.get("type") == "Ready"), {})
    return {
        "ready": {"True": True, "False": False}.get(ready.get("status", "")),
        "reason": ready.get("reason", ""),
        "message": ready.get("message", ""),
        "at": ready.get("lastTransitionTime", ""),
    }
