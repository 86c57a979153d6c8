"""Garbage collection by ownerReferences.

    background   the owner is gone  -> an object all of whose owners are gone is deleted
    foreground   the owner waits (finalizer foregroundDeletion) until those that block it are gone
    orphan       the owner waits (finalizer orphan) until its reference is taken out of the others

An index of all objects by uid, and of dependents by their owners' uid, is kept from the changes themselves.
A key is the uid of an owner, living or not.
"""

from collections.abc import Iterable
from typing import Final

from clusters.embedded.errors import NotFound
from clusters.embedded.registry import Registry
from clusters.embedded.resources import EVENTS, LEASES, Obj, Resource

Place = tuple[str, str, str]  # resource key, namespace, name
_FOREGROUND: Final = "foregroundDeletion"
_ORPHAN: Final = "orphan"


class GarbageCollector:
    name = "garbage-collector"
    watched: tuple[Resource, ...] = ()

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._places: dict[str, Place] = {}
        self._dependents: dict[str, set[Place]] = {}

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[str]:
        if resource in {EVENTS, LEASES}:
            return ()
        metadata = obj["metadata"]
        uid, place = metadata["uid"], (resource.key, metadata.get("namespace", ""), metadata["name"])
        owners = [reference["uid"] for reference in metadata.get("ownerReferences") or ()]
        for owner in owners:
            members = self._dependents.setdefault(owner, set())
            (members.discard if deleted else members.add)(place)
            if not members:
                del self._dependents[owner]
        if deleted:
            self._places.pop(uid, None)
        else:
            self._places[uid] = place
        concerns_dependents = uid in self._dependents or "finalizers" in metadata
        return [*owners, *([uid] if concerns_dependents else [])]

    def reconcile(self, uid: str) -> float | None:
        owner = self._find(self._places[uid], uid=uid) if uid in self._places else None
        dependents = self._living_dependents(uid)
        if owner is None:
            for resource, obj in dependents:
                self._release(resource, obj)
            return None
        finalizers = owner[1]["metadata"].get("finalizers") or ()
        if "deletionTimestamp" not in owner[1]["metadata"]:
            return None
        if _ORPHAN in finalizers:
            for resource, obj in dependents:
                self._registry.update(resource, _without_owner(obj, uid=uid))
            self._drop_finalizer(*owner, finalizer=_ORPHAN)
        elif _FOREGROUND in finalizers:
            self._delete_dependents_first(*owner, dependents=dependents)
        return None

    def _delete_dependents_first(
        self, resource: Resource, owner: Obj, *, dependents: list[tuple[Resource, Obj]]
    ) -> None:
        uid, blocking = owner["metadata"]["uid"], False
        for kind, obj in dependents:
            blocking |= any(
                r["uid"] == uid and r.get("blockOwnerDeletion") for r in obj["metadata"].get("ownerReferences") or ()
            )
            if "deletionTimestamp" not in obj["metadata"]:
                self._delete(kind, obj, propagation="Foreground")
        if not blocking or not self._living_dependents(uid):
            self._drop_finalizer(resource, owner, finalizer=_FOREGROUND)

    def _release(self, resource: Resource, obj: Obj) -> None:
        """An owner is gone: delete the object, unless another of its owners lives."""
        references = obj["metadata"].get("ownerReferences") or ()
        living = [reference for reference in references if self._lives(reference)]
        if living:
            metadata = {**obj["metadata"], "ownerReferences": living}
            self._registry.update(resource, {**obj, "metadata": metadata})
        elif "deletionTimestamp" not in obj["metadata"]:
            self._delete(resource, obj, propagation="Background")

    def _lives(self, reference: Obj) -> bool:
        place = self._places.get(reference["uid"])
        return place is not None and self._find(place, uid=reference["uid"]) is not None

    def _delete(self, resource: Resource, obj: Obj, *, propagation: str) -> None:
        metadata = obj["metadata"]
        held = metadata.get("finalizers") or ()
        try:
            self._registry.delete(
                resource,
                metadata.get("namespace"),
                metadata["name"],
                propagation="Orphan" if _ORPHAN in held else propagation,
                preconditions_uid=metadata["uid"],
            )
        except NotFound:
            return

    def _drop_finalizer(self, resource: Resource, obj: Obj, *, finalizer: str) -> None:
        current = self._registry.find(resource, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        if current is None:
            return
        left = [name for name in current["metadata"].get("finalizers") or () if name != finalizer]
        metadata = {**current["metadata"], "finalizers": left}
        if not left:
            del metadata["finalizers"]
        self._registry.update(resource, {**current, "metadata": metadata})

    def _living_dependents(self, uid: str) -> list[tuple[Resource, Obj]]:
        found = []
        for place in sorted(self._dependents.get(uid, ())):
            entry = self._find(place)
            if entry is not None and any(
                reference["uid"] == uid for reference in entry[1]["metadata"].get("ownerReferences") or ()
            ):
                found.append(entry)
        return found

    def _find(self, place: Place, *, uid: str = "") -> tuple[Resource, Obj] | None:
        resource = self._registry.catalog.of_key(place[0])
        if resource is None:
            return None
        obj = self._registry.find(resource, place[1] or None, place[2])
        if obj is None or (uid and obj["metadata"]["uid"] != uid):
            return None
        return resource, obj


def _without_owner(obj: Obj, *, uid: str) -> Obj:
    left = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] != uid]
    metadata = {**obj["metadata"], "ownerReferences": left}
    if not left:
        del metadata["ownerReferences"]
    return {**obj, "metadata": metadata}
