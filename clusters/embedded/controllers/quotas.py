"""ResourceQuota -> its status: what is limited, and how much of it is used (quota.py counts and refuses)."""

from collections.abc import Iterable
from typing import Final

from clusters.embedded import quota
from clusters.embedded.registry import Registry
from clusters.embedded.resources import EVENTS, LEASES, RESOURCE_QUOTAS, Obj, Resource

Key = tuple[str, str]
_UNCOUNTED: Final = frozenset({EVENTS, LEASES})


class QuotaController:
    name = "resourcequota-controller"
    watched: tuple[Resource, ...] = ()  # a quota may count any kind

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        del deleted
        namespace = obj["metadata"].get("namespace")
        if namespace is None or resource in _UNCOUNTED:
            return []
        quotas = self._registry.list(RESOURCE_QUOTAS, namespace)
        return [(namespace, each["metadata"]["name"]) for each in quotas]

    def reconcile(self, key: Key) -> float | None:
        found = self._registry.find(RESOURCE_QUOTAS, *key)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return None
        used = quota.total(found, quota.counted(self._registry, found))
        status = {
            "hard": dict(found["spec"].get("hard") or {}),
            "used": {name: quota.quantity_of(name, value) for name, value in used.items()},
        }
        if status != found.get("status"):
            self._registry.update_status(RESOURCE_QUOTAS, {**found, "status": status})
        return None
