"""Namespaces: what each one has from the start, and how one ends.

From the start: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`. At the end: everything in it is
deleted, kind by kind, and only when nothing is left does the namespace itself go.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from clusters.embedded.errors import NotFound
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, Obj, Resource

ROOT_CA: Final = "kube-root-ca.crt"
_LOOK_AGAIN_SECONDS: Final = 0.2


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
        left = 0
        for resource in self._kinds():
            for obj in self._registry.list(resource, name):
                if "deletionTimestamp" not in obj["metadata"]:
                    with contextlib.suppress(NotFound):
                        self._registry.delete(resource, name, obj["metadata"]["name"])
                left += self._registry.find(resource, name, obj["metadata"]["name"]) is not None
        if left:
            return _LOOK_AGAIN_SECONDS
        self._registry.finalize_namespace(name)
        return None

    def _kinds(self) -> list[Resource]:
        kinds: dict[str, Resource] = {}
        for resource in self._registry.catalog:
            if resource.namespaced and "delete" in resource.verbs:
                kinds.setdefault(resource.key, resource)
        return list(kinds.values())
