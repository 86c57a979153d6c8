"""Service + Pods -> EndpointSlices: what routers and the relay follow.

    ready = the pod is ready and not ending (or the Service publishes unready addresses)
    serving = the pod is ready        terminating = the pod is being deleted

Only pods with an address that have not ended. Pods are grouped by the numbers their named ports have.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from clusters.embedded.conditions import has_ended, is_true
from clusters.embedded.controllers.owners import reference_to
from clusters.embedded.registry import Registry
from clusters.embedded.resources import ENDPOINT_SLICES, PODS, SERVICES, Obj, Resource
from clusters.embedded.selectors import from_labels

Key = tuple[str, str]
SERVICE_NAME: Final = "kubernetes.io/service-name"
MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_MANAGER: Final = "endpointslice-controller.k8s.io"
_PER_SLICE: Final = 100
Ports = tuple[tuple[str, str, int, str], ...]  # name, protocol, number, appProtocol


class EndpointSliceController:
    name = "endpoint-slice-controller"
    watched: tuple[Resource, ...] = (SERVICES, PODS, ENDPOINT_SLICES)

    def __init__(self, registry: Registry, *, late: Callable[[], float] = lambda: 0.0) -> None:
        """``late``: by how many seconds the slices follow, for tests (faults.py)."""
        self._registry = registry
        self._late = late
        self._due: dict[Key, datetime] = {}

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        del deleted
        namespace = obj["metadata"]["namespace"]
        if resource == SERVICES:
            return [(namespace, obj["metadata"]["name"])]
        if resource == ENDPOINT_SLICES:
            labels = obj["metadata"].get("labels") or {}
            ours = labels.get(MANAGED_BY) == _MANAGER
            return [(namespace, labels[SERVICE_NAME])] if ours and SERVICE_NAME in labels else []
        return [
            (namespace, service["metadata"]["name"])
            for service in self._registry.list(SERVICES, namespace)
            if from_labels(service["spec"].get("selector")).matches(obj["metadata"].get("labels"))
        ]

    def reconcile(self, key: Key) -> float | None:
        now = self._registry.clock()
        left = (self._due.setdefault(key, now + timedelta(seconds=self._late())) - now).total_seconds()
        if left > 0:
            return left
        del self._due[key]
        service = self._registry.find(SERVICES, *key)
        if service is None or "deletionTimestamp" in service["metadata"]:
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        pods = self._registry.list(PODS, key[0], selector=from_labels(service["spec"]["selector"]))
        wanted = group_endpoints(service, pods=pods)
        existing = [s for s in self._registry.list(ENDPOINT_SLICES, key[0]) if _is_of(s, service)]
        self._apply(service, wanted=wanted, existing=existing)
        return None

    def _apply(self, service: Obj, *, wanted: Mapping[Ports, list[Obj]], existing: Sequence[Obj]) -> None:
        unused = list(existing)
        for ports, endpoints in wanted.items():
            for start in range(0, max(len(endpoints), 1), _PER_SLICE):
                body = {"ports": _ports_json(ports), "endpoints": endpoints[start : start + _PER_SLICE]}
                match = next((s for s in unused if _same_ports(s, body)), None)
                if match is None:
                    self._create(service, body)
                    continue
                unused.remove(match)
                if any(match.get(key) != value for key, value in body.items()):
                    self._registry.update(ENDPOINT_SLICES, {**match, **body})
        for left in unused:
            self._registry.delete(ENDPOINT_SLICES, left["metadata"]["namespace"], left["metadata"]["name"])

    def _create(self, service: Obj, body: Obj) -> None:
        name = service["metadata"]["name"]
        labels = {**(service["metadata"].get("labels") or {}), SERVICE_NAME: name, MANAGED_BY: _MANAGER}
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        metadata = {
            "generateName": f"{name}-",
            "labels": labels,
            "ownerReferences": [reference_to(service, resource=SERVICES)],
        }
        obj = {"metadata": metadata, "addressType": "IPv4", **body}
        self._registry.create(ENDPOINT_SLICES, obj, namespace=service["metadata"]["namespace"])


def group_endpoints(service: Obj, *, pods: Iterable[Obj]) -> dict[Ports, list[Obj]]:
    """Endpoints by port numbers; with no pods, one empty group with the ports that need no pod to be known."""
    groups: dict[Ports, list[Obj]] = {}
    for pod in sorted(pods, key=lambda pod: pod["metadata"]["name"]):
        if (pod.get("status") or {}).get("podIP") and not has_ended(pod):
            groups.setdefault(_ports_of(service, pod=pod), []).append(_endpoint(service, pod=pod))
    return groups or {_ports_of(service, pod=None): []}


def _endpoint(service: Obj, *, pod: Obj) -> Obj:
    serving = is_true(pod, "Ready")
    terminating = "deletionTimestamp" in pod["metadata"]
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        },
    }
    named = pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]
    return endpoint | ({"hostname": pod["spec"]["hostname"]} if named else {})


def _ports_of(service: Obj, *, pod: Obj | None) -> Ports:
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target_number(port, pod=pod)
        if number:
            found.append((port.get("name") or "", port.get("protocol") or "TCP", number, port.get("appProtocol") or ""))
    return tuple(found)


def _target_number(port: Obj, *, pod: Obj | None) -> int:
    target: Any = port.get("targetPort", port["port"])
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    for container in (pod or {}).get("spec", {}).get("containers") or ():
        for declared in container.get("ports") or ():
            same_protocol = declared.get("protocol", "TCP") == (port.get("protocol") or "TCP")
            if declared.get("name") == target and same_protocol:
                return int(declared["containerPort"])
    return 0


def _ports_json(ports: Ports) -> list[Obj]:
    return [
        {"name": name, "protocol": protocol, "port": number} | ({"appProtocol": app} if app else {})
        for name, protocol, number, app in ports
    ]


def _same_ports(existing: Obj, body: Obj) -> bool:
    def key(ports: Sequence[Obj] | None) -> list[tuple[str, int]]:
        return [(port.get("name") or "", int(port.get("port") or 0)) for port in ports or ()]

    return key(existing.get("ports")) == key(body["ports"])


def _is_of(candidate: Obj, service: Obj) -> bool:
    labels = candidate["metadata"].get("labels") or {}
    return labels.get(SERVICE_NAME) == service["metadata"]["name"] and labels.get(MANAGED_BY) == _MANAGER
