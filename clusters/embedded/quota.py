"""ResourceQuota: what a namespace may hold, counted when something is made (pure), and the hook that refuses.

    usage of one object   {"pods": 1, "requests.cpu": 0.5, ...}         used by a quota   the sum over its namespace
    too much              403  exceeded quota: NAME, requested: ..., used: ..., limited: ...
    a pod that does not say how much it wants of what is limited         403  failed quota: NAME: must specify ...

What is used is counted from the objects themselves, at the moment of the request, so nothing runs ahead of it;
controllers/quotas.py only writes it down. An update is never refused; of the scopes, PriorityClass is not known.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from clusters.embedded.conditions import has_ended
from clusters.embedded.errors import Forbidden
from clusters.embedded.quantities import container_requests, format_quantity, parse_quantity, pod_requests
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.resources import (
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SERVICES,
    Obj,
    Resource,
)

Amounts = dict[str, Decimal]
_PLAIN: Final = ("cpu", "memory", "ephemeral-storage")
_ONE: Final = Decimal(1)


def usage(resource: Resource, obj: Obj) -> Amounts:
    """What one object uses of everything a quota can name."""
    amounts: Amounts = {f"count/{resource.qualified}": _ONE}
    if resource.group == "":
        amounts[resource.plural] = _ONE
    if resource == PODS:
        amounts |= _pod_usage(obj["spec"])
        if has_ended(obj):  # only its object still counts
            return {f"count/{PODS.plural}": _ONE}
    elif resource == SERVICES:
        amounts |= _service_usage(obj["spec"])
    elif resource == PERSISTENT_VOLUME_CLAIMS:
        wanted = (obj["spec"].get("resources") or {}).get("requests") or {}
        amounts["requests.storage"] = parse_quantity(wanted.get("storage", 0))
    return amounts


def _pod_usage(spec: Obj) -> Amounts:
    amounts: Amounts = {}
    for name, value in pod_requests(spec).items():
        amounts[f"requests.{name}"] = value
        if name in _PLAIN:
            amounts[name] = value
    limited = [{**c, "resources": {"requests": (c.get("resources") or {}).get("limits")}} for c in spec["containers"]]
    inits = [
        {**c, "resources": {"requests": (c.get("resources") or {}).get("limits")}}
        for c in spec.get("initContainers") or ()
    ]
    for name, value in pod_requests({"containers": limited, "initContainers": inits}).items():
        amounts[f"limits.{name}"] = value
    return amounts


def _service_usage(spec: Obj) -> Amounts:
    kind, ports = spec.get("type"), len(spec.get("ports") or ())
    if kind == "NodePort":
        return {"services.nodeports": Decimal(ports)}
    if kind != "LoadBalancer":
        return {}
    allocates = spec.get("allocateLoadBalancerNodePorts", True)
    return {"services.loadbalancers": _ONE, "services.nodeports": Decimal(ports if allocates else 0)}


def hard_limits(quota: Obj) -> Amounts:
    return {name: parse_quantity(value) for name, value in (quota["spec"].get("hard") or {}).items()}


def concerns(quota: Obj, resource: Resource, obj: Obj) -> bool:
    """Whether the quota's scopes take this object in; scopes are about pods only."""
    scopes = quota["spec"].get("scopes") or ()
    if not scopes:
        return True
    if resource != PODS:
        return False
    spec = obj["spec"]
    best_effort = not any(container_requests(c) for c in spec["containers"])
    ending = spec.get("activeDeadlineSeconds") is not None
    facts = {"BestEffort": best_effort, "NotBestEffort": not best_effort}
    facts |= {"Terminating": ending, "NotTerminating": not ending}
    return all(facts.get(scope, False) for scope in scopes)


def total(quota: Obj, objects: Iterable[tuple[Resource, Obj]]) -> Amounts:
    """What these objects use of what the quota limits; 0 is said too."""
    used = dict.fromkeys(hard_limits(quota), Decimal(0))
    for resource, obj in objects:
        if concerns(quota, resource, obj):
            for name, value in usage(resource, obj).items():
                if name in used:
                    used[name] += value
    return used


def refusal(quota: Obj, *, wanted: Amounts, used: Amounts) -> str:
    """Why something more does not fit, or ""."""
    hard = hard_limits(quota)
    over = sorted(
        name for name in wanted.keys() & hard.keys() if wanted[name] and used[name] + wanted[name] > hard[name]
    )
    if not over:
        return ""
    told = (
        f"{word}: {written(amounts, over)}"
        for word, amounts in (("requested", wanted), ("used", used), ("limited", hard))
    )
    return f"exceeded quota: {quota['metadata']['name']}, {', '.join(told)}"


def unsaid(quota: Obj, pod: Obj) -> str:
    """What the pod's containers do not say although the quota limits it, or ""."""
    missing = []
    for name in sorted(quota["spec"].get("hard") or {}):
        kind, _, what = name.partition(".") if "." in name else ("requests", ".", name)
        if what in _PLAIN and kind in {"requests", "limits"}:
            silent = [c["name"] for c in _all_containers(pod) if not _says(c, kind=kind, name=what)]
            if silent:
                missing.append(f"{name} for: {','.join(sorted(silent))}")
    return f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(missing)}" if missing else ""


def _all_containers(pod: Obj) -> list[Obj]:
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def _says(container: Obj, *, kind: str, name: str) -> bool:
    if kind == "requests":
        return name in container_requests(container)
    return name in ((container.get("resources") or {}).get("limits") or {})


def written(amounts: Mapping[str, Decimal], names: Iterable[str]) -> str:
    """`requests.cpu=500m,requests.memory=1Gi`."""
    return ",".join(f"{name}={quantity_of(name, amounts[name])}" for name in names)


def quantity_of(name: str, value: Decimal) -> str:
    return format_quantity(value, binary=name.endswith(("memory", "storage")))


def counted(registry: Registry, quota: Obj) -> list[tuple[Resource, Obj]]:
    """All objects of the namespace that the quota may count."""
    namespace, names = quota["metadata"]["namespace"], set(quota["spec"].get("hard") or {})
    found = []
    for resource in registry.catalog:
        if resource.namespaced and resource != EVENTS and _countable(resource, names):
            found += [(resource, obj) for obj in registry.list(resource, namespace)]
    return found


def _countable(resource: Resource, names: set[str]) -> bool:
    if resource == PODS:
        return any(n.startswith(("requests.", "limits.", "count/pods", "pods")) or n in _PLAIN for n in names)
    if resource == PERSISTENT_VOLUME_CLAIMS and "requests.storage" in names:
        return True
    by_name: Any = (
        {resource.plural, f"count/{resource.qualified}"} if not resource.group else {f"count/{resource.qualified}"}
    )
    return bool(names & by_name) or (resource == SERVICES and any(n.startswith("services") for n in names))


def admit(admission: Admission, *, registry: Registry) -> None:
    """For ``registry.admission``, last. Raises Forbidden."""
    resource, obj = admission.resource, admission.obj
    if admission.operation != "CREATE" or not resource.namespaced:
        return
    for quota in registry.list(RESOURCE_QUOTAS, obj["metadata"]["namespace"]):
        if not concerns(quota, resource, obj):
            continue
        wanted = usage(resource, obj)
        why = unsaid(quota, obj) if resource == PODS else ""
        if not why and wanted.keys() & hard_limits(quota).keys():
            why = refusal(quota, wanted=wanted, used=total(quota, counted(registry, quota)))
        if why:
            raise Forbidden(f'{resource.qualified} "{obj["metadata"]["name"]}" is forbidden: {why}')
