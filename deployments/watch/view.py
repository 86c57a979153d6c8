"""The objects of one compute target, in memory: what the API server said last.

Each kind is replaced whole at every list and changed by every event after it. Nothing is concluded before all kinds
were listed once, because a pod that is not in an unfinished list is not a pod that is gone.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from clusters.kube.kinds import DEPLOYMENTS, ONLINE_ENDPOINTS, PODS, REPLICA_SETS, Kind
from routerd import contract

Obj = dict[str, Any]
Key = tuple[str, str]  # (endpoint, deployment)

WATCHED: Final = (DEPLOYMENTS, REPLICA_SETS, PODS, ONLINE_ENDPOINTS)


def key_of(obj: Obj) -> Key:
    """(endpoint, deployment) an object belongs to; deployment is "" for an endpoint's own."""
    labels = obj["metadata"].get("labels") or {}
    return labels.get(contract.ENDPOINT, ""), labels.get(contract.DEPLOYMENT, "")


@dataclass
class _Table:
    objects: dict[str, Obj] = field(default_factory=dict)  # by uid
    synced: bool = False
    trouble: str = ""
    lost_at: datetime | None = None


class TargetView:
    """Thread-safe. Objects that come out are shared: never change them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables = {kind: _Table() for kind in WATCHED}

    def replace(self, kind: Kind, objects: Iterable[Obj]) -> set[Key]:
        """A whole list arrived; the keys it touches, before and after."""
        with self._lock:
            table = self._tables[kind]
            before = {key_of(obj) for obj in table.objects.values()}
            table.objects = {obj["metadata"]["uid"]: obj for obj in objects}
            table.synced = True
            return before | {key_of(obj) for obj in table.objects.values()}

    def change(self, kind: Kind, type_: str, obj: Obj) -> Key:
        """One change arrived; the key it touches."""
        with self._lock:
            objects = self._tables[kind].objects
            if type_ == "DELETED":
                objects.pop(obj["metadata"]["uid"], None)
            else:
                objects[obj["metadata"]["uid"]] = obj
        return key_of(obj)

    def set_state(self, kind: Kind, *, trouble: str, now: datetime) -> None:
        """The way to the server broke (`trouble`) or is open again ("")."""
        with self._lock:
            table = self._tables[kind]
            table.lost_at = (table.lost_at or now) if trouble else None
            table.trouble = trouble

    @property
    def synced(self) -> bool:
        """Whether every kind was listed once."""
        with self._lock:
            return all(table.synced for kind, table in self._tables.items() if kind != ONLINE_ENDPOINTS)

    def trouble(self, *, before: datetime) -> str:
        """Why nothing is known any more; "" while it is, or was until `before`."""
        with self._lock:
            for kind, table in self._tables.items():
                if kind != ONLINE_ENDPOINTS and table.lost_at and table.lost_at <= before:
                    return table.trouble
        return ""

    def of(self, kind: Kind, key: Key) -> tuple[Obj, ...]:
        """Objects of a kind that belong to one deployment."""
        with self._lock:
            return tuple(obj for obj in self._tables[kind].objects.values() if key_of(obj) == key)

    def all(self, kind: Kind) -> tuple[Obj, ...]:
        """All objects of a kind."""
        with self._lock:
            return tuple(self._tables[kind].objects.values())
