"""Nodes that fall silent, and what their taints mean for the pods on them.

    Lease renewed in time   Ready as the kubelet said                        no taint
    Lease too old           Ready=Unknown, pods Ready=False                  unreachable: NoSchedule, NoExecute
    spec.unschedulable      (kubectl cordon)                                 unschedulable: NoSchedule

A pod leaves for a NoExecute taint it does not tolerate at once, for one it tolerates for a time after that time; the
admission of pods gives everyone 300 seconds for a node that is silent. On a node that is lost nobody confirms the end,
so its pods stay Terminating until it is back, or until they are deleted by force, as on any cluster.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from clusters.embedded.conditions import find_condition, merge_conditions
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.registry import Registry
from clusters.embedded.resources import LEASES, NODES, PODS, Obj, Resource
from clusters.embedded.scheduler import tolerates

UNREACHABLE: Final = "node.kubernetes.io/unreachable"
NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
_OURS: Final = frozenset({UNREACHABLE, NOT_READY, _UNSCHEDULABLE})
_LEASES: Final = "kube-node-lease"


class NodeController:
    name = "node-controller"
    watched: tuple[Resource, ...] = (NODES, LEASES, PODS)

    def __init__(self, registry: Registry, *, grace: float) -> None:
        self._registry = registry
        self._grace = grace  # seconds a Lease may be old

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[str]:
        del deleted
        if resource == NODES:
            return [obj["metadata"]["name"]]
        if resource == LEASES:
            return [obj["metadata"]["name"]] if obj["metadata"]["namespace"] == _LEASES else []
        node = self._registry.find(NODES, None, obj["spec"].get("nodeName") or "")
        tainted = node is not None and any(True for _ in evicting(node))
        return [node["metadata"]["name"]] if node is not None and tainted else []

    def reconcile(self, name: str) -> float | None:
        node = self._registry.find(NODES, None, name)
        if node is None:
            return None
        now = self._registry.clock()
        left = self._lease_left(name, now=now)
        if left is not None and left <= 0:
            self._mark_silent(node, now=rfc3339(now))
        node = self._set_taints(name, now=now)
        waits = [left] if left is not None and left > 0 else []
        waits += self._evict(node, now=now)
        return min(waits, default=None)

    def _lease_left(self, name: str, *, now: datetime) -> float | None:
        lease = self._registry.find(LEASES, _LEASES, name)
        if lease is None or not lease["spec"].get("renewTime"):
            return None  # a node somebody else made and looks after
        age = (now - datetime.fromisoformat(lease["spec"]["renewTime"])).total_seconds()
        return self._grace - age

    def _mark_silent(self, node: Obj, *, now: str) -> None:
        known = (node.get("status") or {}).get("conditions") or []
        unknown = {"status": "Unknown", "reason": "NodeStatusUnknown"}
        told = {"message": "Kubelet stopped posting node status.", "lastHeartbeatTime": now}
        wanted = [{"type": c["type"], **unknown, **told} for c in known if c["status"] != "Unknown"]
        if wanted:
            conditions = merge_conditions(known, wanted=wanted, now=now)
            self._registry.update_status(NODES, {**node, "status": {**node["status"], "conditions": conditions}})
            message = f"Node {node['metadata']['name']} status is now: NodeNotReady"
            self._tell(node, "Normal", "NodeNotReady", message)
        for pod in self._pods_on(node["metadata"]["name"]):
            self._mark_unready(pod, now=now)

    def _mark_unready(self, pod: Obj, *, now: str) -> None:
        """So that Services stop sending to it."""
        ready = find_condition(pod, "Ready")
        if ready is not None and ready["status"] == "True":
            unready = {**ready, "status": "False", "lastTransitionTime": now}
            conditions = merge_conditions(pod["status"]["conditions"], wanted=[unready], now=now)
            self._registry.update_status(PODS, {**pod, "status": {**pod["status"], "conditions": conditions}})
            self._tell(pod, "Warning", "NodeNotReady", "Node is not ready")

    def _set_taints(self, name: str, *, now: datetime) -> Obj:
        node = self._registry.get(NODES, None, name)
        before = list(node["spec"].get("taints") or ())
        after = wanted_taints(node, now=rfc3339(now))
        if before == after:
            return node
        spec = {key: value for key, value in node["spec"].items() if key != "taints"}
        return self._registry.update(NODES, {**node, "spec": spec | ({"taints": after} if after else {})})

    def _evict(self, node: Obj, *, now: datetime) -> list[float]:
        """Delete pods whose time is over; how many seconds each of the others has."""
        waits = []
        for pod in self._pods_on(node["metadata"]["name"]) if any(True for _ in evicting(node)) else ():
            left = stay(pod, taints=list(evicting(node)), now=now)
            if left is not None and left <= 0:
                metadata = pod["metadata"]
                title = f"{metadata['namespace']}/{metadata['name']}"
                self._tell(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {title}")
                self._registry.delete(PODS, metadata["namespace"], metadata["name"])
            elif left is not None:
                waits.append(left)
        return waits

    def _pods_on(self, name: str) -> list[Obj]:
        pods = (pod for pod in self._registry.list(PODS) if pod["spec"].get("nodeName") == name)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _tell(self, obj: Obj, kind: str, reason: str, message: str) -> None:
        self._registry.record_event(obj, type=kind, reason=reason, message=message, component=self.name)


def wanted_taints(node: Obj, *, now: str) -> list[Obj]:
    """Those set by hand, and those that follow from the node's state; times of those that stay are kept (pure)."""
    old = node["spec"].get("taints") or ()
    ready = (find_condition(node, "Ready") or {"status": "True"})["status"]
    wanted = [(_UNSCHEDULABLE, "NoSchedule")] if node["spec"].get("unschedulable") else []
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    times = {(taint["key"], taint["effect"]): taint.get("timeAdded") for taint in old}
    ours = [{"key": key, "effect": effect, "timeAdded": times.get((key, effect)) or now} for key, effect in wanted]
    by_hand = [taint for taint in old if taint["key"] not in _OURS]
    return [{"timeAdded": now, **taint} if taint["effect"] == "NoExecute" else dict(taint) for taint in by_hand] + ours


def evicting(node: Obj) -> Iterable[Obj]:
    return (taint for taint in node["spec"].get("taints") or () if taint["effect"] == "NoExecute")


def stay(pod: Obj, *, taints: Sequence[Obj], now: datetime) -> float | None:
    """Seconds a pod may stay under these NoExecute taints, 0 or less when it must go, None for ever (pure)."""
    left: list[float] = []
    for taint in taints:
        found = [t for t in pod["spec"].get("tolerations") or () if tolerates(t, taint=taint)]
        if not found:
            return 0.0
        limits = [float(t["tolerationSeconds"]) for t in found if t.get("tolerationSeconds") is not None]
        if len(limits) == len(found):
            age = (now - datetime.fromisoformat(taint["timeAdded"])).total_seconds()
            left.append(min(limits) - age)
    return min(left, default=None)


def default_tolerations(spec: Obj) -> None:
    """What admission adds to every pod: five minutes on a node that is silent or not ready."""
    tolerations = spec.get("tolerations") or []
    for key in (NOT_READY, UNREACHABLE):
        if not any(tolerates(t, taint={"key": key, "effect": "NoExecute"}) for t in tolerations):
            entry = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations = [*tolerations, entry]
    spec["tolerations"] = tolerations
