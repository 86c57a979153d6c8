"""ReplicaSet -> Pods: as many as wanted, the least useful ones go first.

A pod that is refused (a quota, pod security) is told in an Event and in the condition ReplicaFailure, and tried again
later and later: the loop waits longer after each failure. In a namespace that ends nothing is tried again.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from clusters.embedded.conditions import find_condition, has_ended, is_true
from clusters.embedded.controllers.owners import claim, controller_of, pod_of, takers_of
from clusters.embedded.errors import ApiError, NotFound
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.registry import Registry
from clusters.embedded.resources import PODS, REPLICA_SETS, Obj, Resource

Key = tuple[str, str]
_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_AT_ONCE: Final = 500


class ReplicaSetController:
    name = "replicaset-controller"
    watched: tuple[Resource, ...] = (REPLICA_SETS, PODS)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        del deleted
        namespace = obj["metadata"]["namespace"]
        if resource == REPLICA_SETS:
            return [(namespace, obj["metadata"]["name"])]
        owner = controller_of(obj)
        if owner is not None:
            return [(namespace, owner["name"])] if owner["kind"] == "ReplicaSet" else []
        return takers_of(self._registry, obj, kind=REPLICA_SETS)

    def reconcile(self, key: Key) -> float | None:
        wanted = self._registry.find(REPLICA_SETS, *key)
        if wanted is None:
            return None
        pods = self._pods_of(wanted)
        active = [pod for pod in pods if is_active(pod)]
        failure = None
        if "deletionTimestamp" not in wanted["metadata"]:
            failure = self._scale(wanted, active=active)
            active = [pod for pod in self._pods_of(wanted) if is_active(pod)]
        again = self._write_status(wanted, active=active, failure=failure)
        if failure is not None and not in_ending_namespace(failure):
            raise failure
        return again

    def _pods_of(self, owner: Obj) -> list[Obj]:
        return claim(self._registry, PODS, owner=owner, kind=REPLICA_SETS)

    def _scale(self, owner: Obj, *, active: list[Obj]) -> ApiError | None:
        missing = int(owner["spec"].get("replicas", 1)) - len(active)
        if missing < 0:
            for pod in sorted(active, key=lambda pod: removal_rank(pod, now=self._registry.clock()))[:-missing]:
                self._delete(owner, pod)
        for _ in range(min(missing, _AT_ONCE)):
            try:
                self._create(owner)
            except ApiError as error:
                if isinstance(error, NotFound):
                    raise
                message = f"Error creating: {error.message}"
                self._tell(owner, "Warning", "FailedCreate", message)
                return error
        return None

    def _create(self, owner: Obj) -> None:
        pod = pod_of(owner, resource=REPLICA_SETS)
        made = self._registry.create(PODS, pod, namespace=owner["metadata"]["namespace"])
        self._tell(owner, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def _delete(self, owner: Obj, pod: Obj) -> None:
        metadata = pod["metadata"]
        self._registry.delete(PODS, metadata["namespace"], metadata["name"], preconditions_uid=metadata["uid"])
        self._tell(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}")

    def _write_status(self, owner: Obj, *, active: Sequence[Obj], failure: ApiError | None) -> float | None:
        now = self._registry.clock()
        current = self._registry.get(REPLICA_SETS, owner["metadata"]["namespace"], owner["metadata"]["name"])
        seconds = int(current["spec"].get("minReadySeconds") or 0)
        waits = [available_in(pod, seconds=seconds, now=now) for pod in active]
        labels = (current["spec"]["template"].get("metadata") or {}).get("labels") or {}
        status: Obj = {
            "replicas": len(active),
            "fullyLabeledReplicas": sum(labels.items() <= (p["metadata"].get("labels") or {}).items() for p in active),
            "readyReplicas": sum(is_ready(pod) for pod in active),
            "availableReplicas": sum(wait == 0 for wait in waits),
            "observedGeneration": current["metadata"].get("generation", 1),
        }
        status = {key: value for key, value in status.items() if value or key == "replicas"}
        if failure is not None:
            status["conditions"] = _failed(current, failure, now=rfc3339(now))
        if status != current.get("status"):
            self._registry.update_status(REPLICA_SETS, {**current, "status": status})
        return min((wait for wait in waits if wait), default=None)

    def _tell(self, owner: Obj, kind: str, reason: str, message: str) -> None:
        self._registry.record_event(owner, type=kind, reason=reason, message=message, component=self.name)


def _failed(current: Obj, failure: ApiError, *, now: str) -> list[Obj]:
    """The conditions with ReplicaFailure; what the first refusal said stays until pods are made again."""
    old = (current.get("status") or {}).get("conditions") or []
    if any(condition["type"] == "ReplicaFailure" for condition in old):
        return list(old)
    told = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure.message}
    return [*old, {**told, "lastTransitionTime": now}]


def in_ending_namespace(error: ApiError) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def is_active(pod: Obj) -> bool:
    """Neither ended nor ending."""
    return not has_ended(pod) and "deletionTimestamp" not in pod["metadata"]


def is_ready(pod: Obj) -> bool:
    return is_true(pod, "Ready")


def available_in(pod: Obj, *, seconds: int, now: datetime) -> float | None:
    """0 when the pod is available, else how many seconds until it is if it stays ready; None when not ready."""
    condition = find_condition(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    if not seconds:
        return 0
    since = datetime.fromisoformat(condition["lastTransitionTime"])
    return max(0.0, seconds - (now - since).total_seconds())


def removal_rank(pod: Obj, *, now: datetime) -> tuple[Any, ...]:
    """Sorts those to be removed first to the front: unscheduled, pending, not ready, cheap, young."""
    del now
    phase = (pod.get("status") or {}).get("phase", "Pending")
    annotations = pod["metadata"].get("annotations") or {}
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    restarts = max((status.get("restartCount", 0) for status in statuses), default=0)
    ready = find_condition(pod, "Ready")
    since = ready["lastTransitionTime"] if ready is not None and ready["status"] == "True" else ""
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(phase, 2),
        is_ready(pod),
        int(annotations.get(_DELETION_COST, 0)),
        _newest_first(since),
        -restarts,
        _newest_first(pod["metadata"]["creationTimestamp"]),
    )


def _newest_first(moment: str) -> float:
    return -datetime.fromisoformat(moment).timestamp() if moment else 0.0
