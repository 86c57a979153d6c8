"""Pulling what the routers measured and decided, once a second; and, while somebody waits, what they have in force.

    router pod's ring --samples, decisions after the cursor--> MetricSample, ScaleDecision --> endpoint-<id>-metrics
    router pod's /v1/table --the lowest of all pods--> Endpoint.observed["routers"] --> wakes the Operation that waits

A thread a cluster, so that one that does not answer does not hold up the others. A cursor is a pod's UID, how often it
was started, and a sequence number: a router that began again counts from 1.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from django.db import close_old_connections, connections, transaction
from django.utils import timezone

from clusters.kube.errors import KubeError
from clusters.models import Cluster, RouterState
from clusters.router_admin import RouterPod, get_decisions, get_samples, get_table, router_pods
from deployments.models import Deployment, Endpoint, MetricSample, RouterCursor, ScaleDecision
from deployments.observed import merge_observed
from studio.live import notify
from studio.models import UNFINISHED, Operation
from studio.services.operations import wake

_EVERY: Final = 1.0  # seconds between two samples
_IDLE: Final = 0.25  # seconds until it is noticed that somebody waits
_WHILE_WAITED_FOR: Final = 0.15
_PODS_EVERY: Final = 5.0
_AFTER_TROUBLE: Final = 5.0
_AWAITING: Final = ("set-traffic", "rotate-key", "deploy", "delete-deployment", "delete-endpoint")

Owner = tuple[str, str, str]  # (namespace, endpoint, deployment)

log = structlog.get_logger(__name__)


class Sampler:
    """Owns the threads of all clusters."""

    def __init__(self, *, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: dict[int, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def join(self, *, timeout: float) -> None:
        """After `stop`: wait until all have ended."""
        self._thread.join(timeout)
        for thread in self._threads.values():
            thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._begin_clusters()
                self._stop.wait(2.0)
        finally:
            connections.close_all()

    def _begin_clusters(self) -> None:
        try:
            close_old_connections()
            ids = set(_with_router().values_list("pk", flat=True))
        except Exception:  # the database may be away for a moment
            log.exception("Clusters to sample not read")
            return
        self._threads = {pk: thread for pk, thread in self._threads.items() if thread.is_alive()}
        for pk in ids - set(self._threads):
            thread = threading.Thread(target=self._sample_cluster, args=(pk,), name=f"sampler-{pk}", daemon=True)
            self._threads[pk] = thread
            thread.start()

    def _sample_cluster(self, pk: int) -> None:
        """Until the cluster is gone or has no router any more."""
        reader = ClusterReader(pk)
        try:
            while not self._stop.is_set() and reader.refresh():
                pause = self._turn(reader)
                self._stop.wait(pause)
        finally:
            connections.close_all()

    def _turn(self, reader: "ClusterReader") -> float:
        try:
            return reader.turn()
        except KubeError as error:
            reader.lost(str(error))
            return _AFTER_TROUBLE
        except Exception:  # one bad answer must not end the sampling
            log.exception("Sampling broke", cluster=reader.pk)
            return _AFTER_TROUBLE


def _with_router() -> Any:
    return Cluster.objects.exclude(router_state=RouterState.ABSENT)


class ClusterReader:
    """Reads the routers of one cluster."""

    def __init__(self, pk: int) -> None:
        self.pk = pk
        self._cluster: Cluster | None = None
        self._pods: list[RouterPod] = []
        self._pods_at = 0.0
        self._sampled_at = 0.0
        self._trouble = ""

    def refresh(self) -> bool:
        """Read the row again; False when there is nothing to sample any more."""
        close_old_connections()
        self._cluster = _with_router().filter(pk=self.pk).first()
        return self._cluster is not None

    def lost(self, error: str) -> None:
        """The cluster did not answer: said once per change."""
        self._pods_at = 0.0
        if error != self._trouble:
            log.warning("Routers cannot be asked", cluster=self.pk, error=error)
        self._trouble = error

    def turn(self) -> float:
        """One look; seconds until the next."""
        waiting = self._waiting()
        self._look_for_pods(now=time.monotonic(), waited_for=bool(waiting))
        if waiting:  # before anything else can go wrong: somebody's rollout hangs on it
            self._report(waiting, now=timezone.now())
        if time.monotonic() - self._sampled_at >= _EVERY:
            self._sampled_at = time.monotonic()
            for pod in self._pods:
                self._read_ring(pod)
        if waiting:
            return _WHILE_WAITED_FOR
        self._trouble = ""
        return _IDLE

    def _look_for_pods(self, *, now: float, waited_for: bool) -> None:
        """While somebody waits, "every router" must not miss one that has just become ready."""
        if now - self._pods_at >= (1.0 if waited_for else _PODS_EVERY) and self._cluster is not None:
            self._pods = [pod for pod in router_pods(self._cluster) if pod.ready]
            self._pods_at = now

    # --- Samples and decisions ------------------------------------------------------------------------

    def _read_ring(self, pod: RouterPod) -> None:
        name = f"{pod.name}/{pod.uid}@{pod.restarts}"
        cursor, _ = RouterCursor.objects.get_or_create(router=name[:120], defaults={"cluster_id": self.pk})
        samples = get_samples(pod, after=cursor.samples_after)
        decisions = get_decisions(pod, after=cursor.decisions_after)
        if samples["samples"] or decisions["decisions"]:
            self._store(name[:120], samples=samples["samples"], decisions=decisions["decisions"])
        if (cursor.samples_after, cursor.decisions_after) != (samples["next"], decisions["next"]):
            cursor.samples_after, cursor.decisions_after = samples["next"], decisions["next"]
            cursor.save(update_fields=["samples_after", "decisions_after"])

    def _store(self, router: str, *, samples: list[dict[str, Any]], decisions: list[dict[str, Any]]) -> None:
        owners = _owners(self.pk, {_owner(each) for each in [*samples, *decisions]})
        touched = {owners[_owner(each)] for each in [*samples, *decisions] if _owner(each) in owners}
        with transaction.atomic():
            MetricSample.objects.bulk_create(
                [
                    _sample_row(each, router=router, deployment=owners[_owner(each)][0])
                    for each in samples
                    if _owner(each) in owners
                ],
                batch_size=500,
            )
            for each in decisions:
                if _owner(each) in owners:
                    _store_decision(each, router=router, deployment=owners[_owner(each)][0])
        for endpoint in {endpoint for _, endpoint in touched}:
            notify(f"endpoint-{endpoint}-metrics")

    # --- In force ----------------------------------------------------------------------------------------

    def _waiting(self) -> list[Operation]:
        about = Operation.objects.filter(kind__in=_AWAITING, state__in=UNFINISHED, params__has_key="routing")
        found = list(about)
        if not found:
            return []
        deployments = self._endpoints_of_deployments()
        mine = set(map(str, Endpoint.objects.filter(target__cluster_id=self.pk).values_list("pk", flat=True)))
        return [op for op in found if _endpoint_of(op, deployments=deployments) in mine]

    def _endpoints_of_deployments(self) -> dict[str, str]:
        rows = Deployment.objects.filter(endpoint__target__cluster_id=self.pk)
        return {str(pk): str(endpoint) for pk, endpoint in rows.values_list("pk", "endpoint_id")}

    def _report(self, waiting: list[Operation], *, now: datetime) -> None:
        """Write what all routers have in force for the endpoints somebody waits for, and wake who does."""
        tables, problem = _tables(self._pods)
        deployments = self._endpoints_of_deployments()
        wanted = {_endpoint_of(op, deployments=deployments) for op in waiting}
        for endpoint in Endpoint.objects.select_related("target").filter(pk__in=[pk for pk in wanted if pk]):
            key = f"{endpoint.target.namespace}/{endpoint.name}"
            report = lowest(tables, key=key) | {"at": now.isoformat(), "problem": problem}
            before = (endpoint.observed.get("routers") or {}) | {"at": ""}
            merge_observed(endpoint.pk, {"routers": report})
            if (report | {"at": ""}) != before or _is_due(waiting, now=now):
                for op in waiting:
                    if _endpoint_of(op, deployments=deployments) == str(endpoint.pk):
                        wake(op.pk)


def _is_due(waiting: list[Operation], *, now: datetime) -> bool:
    """The first report after the change was applied must be looked at even if it says what was said before."""
    return any((now - datetime.fromisoformat(op.params["routing"]["at"])).total_seconds() < 2 for op in waiting)


def _endpoint_of(op: Operation, *, deployments: dict[str, str]) -> str:
    if "endpoint" in op.params:
        return str(op.params["endpoint"])
    return deployments.get(str(op.params.get("deployment")), "")


def _tables(pods: list[RouterPod]) -> tuple[list[dict[str, Any]], str]:
    """What each pod has in force. A pod that does not answer has nothing in force, as far as anybody knows."""
    tables, problem = [], ""
    for pod in pods:
        try:
            tables.append(get_table(pod)["endpoints"])
        except KubeError as error:
            tables.append({})
            problem = str(error)
    return tables, problem


def lowest(tables: list[dict[str, Any]], *, key: str) -> dict[str, Any]:
    """The lowest generation and key revision of `key` over all routers; "absent" when none of them knows it."""
    entries = [table.get(key) for table in tables]
    return {
        "pods": len(tables),
        "generation": min((int(each["generation"]) if each else 0 for each in entries), default=0),
        "key_revision": min((int(each["keyRevision"]) if each else 0 for each in entries), default=0),
        "absent": all(each is None for each in entries),
    }


def _owner(record: dict[str, Any]) -> Owner:
    return record["namespace"], record["endpoint"], record["deployment"]


def _owners(cluster: int, wanted: set[Owner]) -> dict[Owner, tuple[int, int]]:
    """(deployment id, endpoint id) by what the router calls them."""
    rows = Deployment.objects.filter(
        endpoint__target__cluster_id=cluster, endpoint__name__in={endpoint for _, endpoint, _ in wanted}
    )
    found = rows.values_list("endpoint__target__namespace", "endpoint__name", "name", "pk", "endpoint_id")
    return {(namespace, endpoint, name): (pk, owner) for namespace, endpoint, name, pk, owner in found}


def _sample_row(record: dict[str, Any], *, router: str, deployment: int) -> MetricSample:
    latency = record["latency_ms"] or {}
    requests = {name: max(0, count) for name, count in record["requests"].items()}  # a router may be of another version
    return MetricSample(
        deployment_id=deployment,
        router=router,
        at=_moment(record["at"]),
        seconds=record["seconds"],
        ok=requests["2xx"],
        refused=requests["4xx"],
        turned_away=requests["429"],
        failed=requests["5xx"],
        p50_ms=latency.get("p50"),
        p95_ms=latency.get("p95"),
        p99_ms=latency.get("p99"),
        in_flight=record["in_flight"],
        queued=record["queued"] + record.get("held", 0.0),
        concurrency=record["concurrency"],
        replicas_ready=record["replicas_ready"],
        replicas_wanted=record["replicas_ready"] if record["replicas_wanted"] is None else record["replicas_wanted"],
    )


def _store_decision(record: dict[str, Any], *, router: str, deployment: int) -> None:
    """A decision is told again once its replicas are ready, under its old id."""
    ScaleDecision.objects.update_or_create(
        router=router,
        seq=record["id"],
        defaults={
            "deployment_id": deployment,
            "at": _moment(record["at"]),
            "before": record["from"],
            "after": record["to"],
            "reason": record["reason"][:300],
            "figures": record["figures"],
            "ready_at": _moment(record["ready_at"]) if record["ready_at"] else None,
        },
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
