"""What a cluster has, what is asked for, and how many more replicas of a size fit.

Pure: nodes and pods as the API server gives them go in, figures come out. The arithmetic is the scheduler's: what
counts is what pods ask for, not what they use; a pod's ask is the sum of its containers, or of its largest ordinary
init container where that is more (init containers that stay, restartPolicy Always, are added to both); finished pods
count nothing. Amounts are ints in the units of clusters.quantities.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clusters.kube.kinds import Obj
from clusters.quantities import amount
from clusters.sizes import Size, asked_for

Amounts = dict[str, int]
_PRESSURES = {
    "MemoryPressure": "Short of memory",
    "DiskPressure": "Short of disk",
    "PIDPressure": "Short of process ids",
    "NetworkUnavailable": "Its network is not set up",
}


@dataclass(frozen=True)
class Node:
    """One node, as pages and placement need it."""

    name: str
    ready: bool
    ready_since: str = ""  # RFC 3339: since when it is, or is not, ready
    why: str = ""  # why it is not ready, in the kubelet's words
    cordoned: bool = False
    pressures: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, Any], ...] = ()
    address: str = ""
    allocatable: Amounts = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    used: Amounts | None = None  # None where nothing measures it
    pods: int = 0
    isolation: str = ""  # "namespaces" or "none" on the embedded cluster

    @property
    def takes_pods(self) -> bool:
        return self.ready and not self.cordoned and not self.pressures

    def free(self, resource: str) -> int:
        return max(0, self.allocatable.get(resource, 0) - self.requested.get(resource, 0))


def to_json(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    return [asdict(node) for node in nodes]


def from_json(rows: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    def lists(row: Mapping[str, Any]) -> dict[str, Any]:
        return {"pressures": tuple(row.get("pressures", ())), "taints": tuple(row.get("taints", ()))}

    return tuple(Node(**{**row, **lists(row)}) for row in rows)


# --- Reading ------------------------------------------------------------------------------------


def read_nodes(
    nodes: Sequence[Obj], pods: Sequence[Obj], *, used: Mapping[str, Amounts] | None = None
) -> tuple[Node, ...]:
    """Every node with what the pods on it ask for. `used`: measured use by node name, where there is any."""
    by_node: dict[str, list[Obj]] = {}
    for pod in pods:
        where = (pod.get("spec") or {}).get("nodeName")
        if where and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            by_node.setdefault(where, []).append(pod)
    return tuple(
        _read_node(node, by_node.get(node["metadata"]["name"], []), used=(used or {}).get(node["metadata"]["name"]))
        for node in nodes
    )


def _read_node(node: Obj, pods: list[Obj], *, used: Amounts | None) -> Node:
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    pressed = [name for name in _PRESSURES if (conditions.get(name) or {}).get("status") == "True"]
    return Node(
        name=meta["name"],
        ready=ready.get("status") == "True",
        ready_since=str(ready.get("lastTransitionTime") or ""),
        why="" if ready.get("status") == "True" else str(ready.get("message") or "Its kubelet does not report."),
        cordoned=bool(spec.get("unschedulable")),
        pressures=tuple(_PRESSURES[name] for name in pressed),
        labels=dict(meta.get("labels") or {}),
        taints=tuple(spec.get("taints") or ()),
        address=_address(status.get("addresses") or []),
        allocatable=_amounts(status.get("allocatable") or status.get("capacity") or {}),
        requested=_sum(pod_request(pod) for pod in pods),
        used=used,
        pods=len(pods),
        isolation=str((meta.get("annotations") or {}).get("slipway.dev/isolation") or ""),
    )


def _address(addresses: list[Obj]) -> str:
    by_type = {each.get("type"): str(each.get("address") or "") for each in addresses}
    return by_type.get("ExternalIP") or by_type.get("InternalIP") or ""


def pod_request(pod: Obj) -> Amounts:
    """What the scheduler sets aside for one pod."""
    spec = pod.get("spec") or {}
    running = [_container_request(each) for each in spec.get("containers") or []]
    staying: list[Amounts] = []
    largest: Amounts = {}
    for container in spec.get("initContainers") or []:
        ask = _container_request(container)
        if container.get("restartPolicy") == "Always":
            staying.append(ask)
        else:
            largest = _max(largest, _sum([*staying, ask]))
    total = _max(_sum([*running, *staying]), largest)
    return _sum([total, _amounts(spec.get("overhead") or {})])


def _container_request(container: Obj) -> Amounts:
    resources = container.get("resources") or {}
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amounts(quantities: Mapping[str, Any]) -> Amounts:
    return {name: amount(name, text) for name, text in quantities.items()}


def _sum(many: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for each in many:
        for name, value in each.items():
            total[name] = total.get(name, 0) + value
    return total


def _max(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {*one, *other}}


# --- Will it fit? -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """How many replicas of a size fit now. `by_node` holds nodes with room; `why` is a sentence when there is none."""

    count: int
    by_node: Mapping[str, int]
    why: str = ""


def how_many_fit(size: Size, nodes: Sequence[Node]) -> Fit:
    """Room for replicas of `size` beside what runs already, node by node."""
    room: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for node in nodes:
        count, reason = _fit_on(size, node)
        if count:
            room[node.name] = count
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    why = "" if room else _why_none(reasons, total=len(nodes))
    return Fit(count=sum(room.values()), by_node=room, why=why)


def _fit_on(size: Size, node: Node) -> tuple[int, str]:
    """(replicas, why none)."""
    if not node.takes_pods:
        return 0, "taking no new pods" if node.ready else "not ready"
    if any(node.labels.get(key) != value for key, value in size.node_selector.items()):
        return 0, "without the labels asked for"
    if any(not tolerated(taint, size.tolerations) for taint in node.taints):
        return 0, "tainted"
    counts = {"pods": max(0, node.allocatable.get("pods", 110) - node.pods)}
    for resource, ask in asked_for(size).items():
        if ask > 0:
            counts[resource] = node.free(resource) // ask
    short = min(counts, key=lambda name: counts[name])
    return counts[short], f"short of {short}"


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod with these tolerations may be placed despite the taint."""
    if taint.get("effect") == "PreferNoSchedule":
        return True
    return any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key = toleration.get("key") or ""
    if toleration.get("operator", "Equal") == "Exists":
        return key in ("", taint.get("key"))
    return key == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def _why_none(reasons: Mapping[str, int], *, total: int) -> str:
    if not total:
        return "No node is known."
    most_first = sorted(reasons.items(), key=lambda item: -item[1])
    told = ", ".join(f"{count} {reason}" for reason, count in most_first)
    return f"None of {total} node{'' if total == 1 else 's'} has room: {told}."
