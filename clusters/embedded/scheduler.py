"""The scheduler: gives every pod without a node one that fits, and says why when none does.

The decision is pure (`fit`): requests against what is left of the allocatable, taints against tolerations, labels
(affinity.py). Of the nodes that fit it takes the one with the most room. It is made again whenever a pod or node
changes; nothing is ever preempted.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from clusters.embedded.affinity import Placed, breaks_pod_rules, matches_node, pod_terms
from clusters.embedded.conditions import has_ended, merge_conditions
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.quantities import parse_quantity, pod_requests
from clusters.embedded.registry import Registry
from clusters.embedded.resources import NODES, PODS, Obj, Resource

log = logging.getLogger(__name__)

_PODS: Final = "pods"  # a resource like others: each pod takes one
_NO_VICTIMS: Final = "No preemption victims found for incoming pod"
_NO_HELP: Final = "Preemption is not helpful for scheduling"


@dataclass(frozen=True)
class NodeView:
    """One node and the sum of what its pods requested."""

    node: Obj
    used: Mapping[str, Decimal]
    pods: int

    @property
    def name(self) -> str:
        return str(self.node["metadata"]["name"])

    @property
    def allocatable(self) -> Mapping[str, Any]:
        return (self.node.get("status") or {}).get("allocatable") or {}


def fit(pod: Obj, *, view: NodeView, placed: Sequence[Placed] = ()) -> list[str]:
    """Why the pod does not fit on the node, in a scheduler's words; empty when it fits."""
    if view.node.get("spec", {}).get("unschedulable") and not _endures_cordon(pod):
        return ["node(s) were unschedulable"]
    taint = untolerated_taint(pod, taints=view.node.get("spec", {}).get("taints") or ())
    if taint is not None:
        key = f"{{{taint['key']}: {taint.get('value', '')}}}"
        return [f"node(s) had untolerated taint {key}"]
    if not matches_node(pod["spec"], node=view.node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if lacking := _lacking(pod, view=view):
        return lacking
    broken = breaks_pod_rules(pod, node=view.node, placed=placed)
    return [broken] if broken else []


def _lacking(pod: Obj, *, view: NodeView) -> list[str]:
    reasons = []
    limit = view.allocatable.get("pods")
    if limit is not None and view.pods + 1 > parse_quantity(limit):
        reasons.append("Too many pods")
    for name, amount in sorted(pod_requests(pod["spec"]).items()):
        offered = parse_quantity(view.allocatable.get(name, 0))
        if amount and amount + view.used.get(name, Decimal(0)) > offered:
            reasons.append(f"Insufficient {name}")
    return reasons


def _endures_cordon(pod: Obj) -> bool:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    return untolerated_taint(pod, taints=[taint]) is None


def untolerated_taint(pod: Obj, *, taints: Iterable[Obj]) -> Obj | None:
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in taints:
        hard = taint.get("effect") in {"NoSchedule", "NoExecute"}
        if hard and not any(tolerates(toleration, taint=taint) for toleration in tolerations):
            return taint
    return None


def tolerates(toleration: Obj, *, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def failure_message(reasons: Sequence[list[str]]) -> str:
    """The sentence of FailedScheduling; ``reasons`` holds one list per node."""
    total = len(reasons)
    if not total:
        return "no nodes available to schedule pods"
    parts = _counted(reason for node in reasons for reason in node)
    preemption = _counted(_NO_VICTIMS if all(map(_is_about_room, node)) else _NO_HELP for node in reasons)
    return f"0/{total} nodes are available: {parts}. preemption: 0/{total} nodes are available: {preemption}."


def _counted(reasons: Iterable[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in Counter(reasons).items()))


def _is_about_room(reason: str) -> bool:
    return reason.startswith(("Insufficient", "Too many"))


def roomiest(views: Sequence[NodeView]) -> NodeView:
    """Of nodes that all fit, the one with the greatest share of CPU and memory left; the first of equals."""
    return max(views, key=lambda view: sum(_left(view, name) for name in ("cpu", "memory", "pods")))


def _left(view: NodeView, name: str) -> Decimal:
    offered = parse_quantity(view.allocatable.get(name, 0))
    used = Decimal(view.pods) if name == "pods" else view.used.get(name, Decimal(0))
    return (offered - used) / offered if offered else Decimal(0)


@dataclass(frozen=True)
class _Place:
    """Where a pod is, and what it takes there."""

    node: str
    requests: Mapping[str, Decimal]
    title: tuple[str, str]


class Placements:
    """Who is where: kept from the changes, so that a decision does not add up all pods again."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._places: dict[str, _Place] = {}
        self._used: dict[str, defaultdict[str, Decimal]] = {}  # node -> amounts
        self.waiting: dict[str, tuple[str, str]] = {}

    def note(self, pod: Obj) -> None:
        """Something about this pod changed: see how it is now."""
        metadata = pod["metadata"]
        uid, title = metadata["uid"], (metadata["namespace"], metadata["name"])
        now = self._registry.find(PODS, *title)
        if uid in self._places:
            self._count(self._places.pop(uid), sign=-1)
        self.waiting.pop(uid, None)
        if now is None or now["metadata"]["uid"] != uid:
            return
        if now["spec"].get("nodeName") and not has_ended(now):
            self._places[uid] = _Place(now["spec"]["nodeName"], pod_requests(now["spec"]), title)
            self._count(self._places[uid], sign=1)
        elif _is_waiting(now):
            self.waiting[uid] = title

    def _count(self, place: _Place, *, sign: int) -> None:
        used = self._used.setdefault(place.node, defaultdict(Decimal))
        for name, amount in (*place.requests.items(), (_PODS, Decimal(1))):
            used[name] += sign * amount

    def views(self) -> list[NodeView]:
        views = []
        for node in self._registry.list(NODES):
            used = self._used.get(node["metadata"]["name"]) or defaultdict(Decimal)
            views.append(NodeView(node, used, int(used[_PODS])))
        return views

    def placed(self) -> list[Placed]:
        """For rules about other pods."""
        labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in self._registry.list(NODES)}
        found = ((self._registry.find(PODS, *place.title), place.node) for place in self._places.values())
        return [Placed(pod, labels.get(node, {})) for pod, node in found if pod is not None]


class Scheduler:
    """A controller whose keys are pods; see controllers/loop.py."""

    name = "scheduler"
    watched: tuple[Resource, ...] = (PODS, NODES)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._placements = Placements(registry)

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[tuple[str, str]]:
        """A waiting pod by itself; anything that may have made room means looking at all that wait."""
        if resource == PODS:
            self._placements.note(obj)
            if not deleted and _is_waiting(obj):
                return ((obj["metadata"]["namespace"], obj["metadata"]["name"]),)
            if not deleted and not has_ended(obj):
                return ()
        return list(self._placements.waiting.values())

    def reconcile(self, key: tuple[str, str]) -> float | None:
        pod = self._registry.find(PODS, *key)
        if pod is None or not _is_waiting(pod):
            return None
        views = self._placements.views()
        about_pods = any(pod_terms(pod["spec"], kind) for kind in ("podAffinity", "podAntiAffinity"))
        placed = self._placements.placed() if about_pods else []
        reasons = [fit(pod, view=view, placed=placed) for view in views]
        fitting = [view for view, why in zip(views, reasons, strict=True) if not why]
        if fitting:
            self._bind(pod, node=roomiest(fitting).name)
        else:
            self._refuse(pod, message=failure_message(reasons))
        return None

    def _bind(self, pod: Obj, *, node: str) -> None:
        bound = self._registry.update(PODS, {**pod, "spec": {**pod["spec"], "nodeName": node}})
        self._placements.note(bound)
        self._set_condition(bound, {"type": "PodScheduled", "status": "True"})
        title = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._tell(pod, "Normal", "Scheduled", f"Successfully assigned {title} to {node}")

    def _refuse(self, pod: Obj, *, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        old = (pod.get("status") or {}).get("conditions") or []
        if any(all(known.get(key) == value for key, value in condition.items()) for known in old):
            return  # said already
        self._set_condition(pod, condition)
        self._tell(pod, "Warning", "FailedScheduling", message)
        log.info("Cannot schedule pod=%s/%s: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], message)

    def _set_condition(self, pod: Obj, condition: Obj) -> None:
        status = dict(pod.get("status") or {})
        now = rfc3339(self._registry.clock())
        status["conditions"] = merge_conditions(
            status.get("conditions") or [], wanted=[{"lastProbeTime": None, **condition}], now=now
        )
        status.setdefault("phase", "Pending")
        self._registry.update_status(PODS, {**pod, "status": status})

    def _tell(self, pod: Obj, kind: str, reason: str, message: str) -> None:
        self._registry.record_event(pod, type=kind, reason=reason, message=message, component="default-scheduler")


def _is_waiting(pod: Obj) -> bool:
    metadata, spec = pod["metadata"], pod["spec"]
    ours = spec.get("schedulerName", "default-scheduler") == "default-scheduler"
    return ours and not spec.get("nodeName") and "deletionTimestamp" not in metadata and not spec.get("schedulingGates")
