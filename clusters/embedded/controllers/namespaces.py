"""Namespaces: what each one has from the start, and how one ends.

From the start: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`. At the end: its pods are deleted,
then everything else (pods may need their Secrets and NetworkPolicies to the last), and only when nothing is left does
the namespace itself go. What still stands in the way is told in its conditions.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from clusters.embedded.conditions import merge_conditions
from clusters.embedded.errors import NotFound
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Obj, Resource

ROOT_CA: Final = "kube-root-ca.crt"
_LOOK_AGAIN_SECONDS: Final = 0.2
_ALL_WELL: Final = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)


class NamespaceController:
    name = "namespace-controller"
    watched: tuple[Resource, ...] = (NAMESPACES, SERVICE_ACCOUNTS, CONFIG_MAPS)

    def __init__(self, registry: Registry, *, ca_certificate: Callable[[], str]) -> None:
        self._registry = registry
        self._ca_certificate = ca_certificate

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[str]:
        if resource == NAMESPACES:
            return [obj["metadata"]["name"]]
        kept = obj["metadata"]["name"] in {"default", ROOT_CA}
        return [obj["metadata"]["namespace"]] if kept and deleted else []

    def reconcile(self, name: str) -> float | None:
        namespace = self._registry.find(NAMESPACES, None, name)
        if namespace is None:
            return None
        if "deletionTimestamp" in namespace["metadata"]:
            return self._empty(name)
        self._furnish(name)
        return None

    def _furnish(self, name: str) -> None:
        if self._registry.find(SERVICE_ACCOUNTS, name, "default") is None:
            self._registry.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace=name)
        if self._registry.find(CONFIG_MAPS, name, ROOT_CA) is None:
            body = {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": self._ca_certificate()}}
            self._registry.create(CONFIG_MAPS, body, namespace=name)

    def _empty(self, name: str) -> float | None:
        pods = Remains()
        self._delete_all(PODS, name, pods)
        if pods:
            self._tell(name, Remains())  # the conditions pass over them: kubernetes/kubernetes#138208
            return _LOOK_AGAIN_SECONDS
        remains = Remains()
        for resource in self._kinds():
            self._delete_all(resource, name, remains)
        if not remains:
            self._registry.finalize_namespace(name)
            return None
        self._tell(name, remains)
        return _LOOK_AGAIN_SECONDS

    def _delete_all(self, resource: Resource, namespace: str, remains: "Remains") -> None:
        for obj in self._registry.list(resource, namespace):
            metadata = obj["metadata"]
            if "deletionTimestamp" not in metadata:
                with contextlib.suppress(NotFound):
                    self._registry.delete(resource, namespace, metadata["name"])
            if self._registry.find(resource, namespace, metadata["name"]) is not None:
                remains.add(resource, obj)

    def _tell(self, name: str, remains: "Remains") -> None:
        namespace = self._registry.get(NAMESPACES, None, name)
        status = namespace.get("status") or {}
        told = status.get("conditions") or []
        conditions = conditions_of(remains, told=told, now=rfc3339(self._registry.clock()))
        if conditions != told:
            self._registry.update_status(NAMESPACES, {**namespace, "status": {**status, "conditions": conditions}})

    def _kinds(self) -> list[Resource]:
        kinds: dict[str, Resource] = {}
        for resource in self._registry.catalog:
            if resource.namespaced and "delete" in resource.verbs:
                kinds.setdefault(resource.key, resource)
        return list(kinds.values())


@dataclass
class Remains:
    """What a namespace that is being deleted still holds, and which finalizers hold it."""

    kinds: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def add(self, resource: Resource, obj: Obj) -> None:
        self.kinds[f"{resource.plural}.{resource.group}"] += 1
        self.finalizers.update(obj["metadata"].get("finalizers") or ())


def conditions_of(remains: Remains, *, told: Sequence[Obj], now: str) -> list[Obj]:
    """The namespace's conditions, in the order and the words of Kubernetes (pure)."""
    wanted = [
        {"type": kind, "status": "False", "reason": reason, "message": message} for kind, reason, message in _ALL_WELL
    ]
    content, finalizers = wanted[-2:]
    if remains.kinds:
        kinds = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remains.kinds.items()))
        content |= {"status": "True", "reason": "SomeResourcesRemain"}
        content["message"] = f"Some resources are remaining: {kinds}"
    if remains.finalizers:
        held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items()))
        finalizers |= {"status": "True", "reason": "SomeFinalizersRemain"}
        finalizers["message"] = f"Some content in the namespace has finalizers remaining: {held}"
    return merge_conditions(told, wanted=wanted, now=now)
