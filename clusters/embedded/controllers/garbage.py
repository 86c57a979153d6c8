"""Garbage collection by ownerReferences.

    background   the owner is gone  -> an object all of whose owners are gone is deleted
    foreground   the owner waits (finalizer foregroundDeletion) until those that block it are gone
    orphan       the owner waits (finalizer orphan) until its reference is taken out of the others

An owner is *gone*, *waiting* (being deleted in the foreground) or *solid*. An object with a solid owner stays and loses
its references to the others; one without goes, itself in the foreground when a waiting owner and dependents of its own
ask for that, so that a tree goes from its leaves to its root.

An index of all objects by uid, and of dependents by their owners' uid, is kept from the changes themselves.
A key is the uid of an owner, living or not.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Final

from clusters.embedded.errors import NotFound
from clusters.embedded.registry import Registry
from clusters.embedded.resources import EVENTS, LEASES, Obj, Resource

Place = tuple[str, str, str]  # resource key, namespace, name
_FOREGROUND: Final = "foregroundDeletion"
_ORPHAN: Final = "orphan"
_PROPAGATIONS: Final = {_ORPHAN: "Orphan", _FOREGROUND: "Foreground"}
_GONE, _WAITING, _SOLID = "gone", "waiting", "solid"  # how an owner stands


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
        if owner is None:
            for resource, obj in self._living_dependents(uid):
                self._collect(resource, obj)
            return None
        finalizers = owner[1]["metadata"].get("finalizers") or ()
        if "deletionTimestamp" not in owner[1]["metadata"]:
            return None
        if _ORPHAN in finalizers:
            for resource, obj in self._living_dependents(uid):
                self._registry.update(resource, _with_owners(obj, kept=lambda reference: reference["uid"] != uid))
            self._drop_finalizer(*owner, finalizer=_ORPHAN)
        elif _FOREGROUND in finalizers:
            self._delete_dependents_first(*owner)
        return None

    def _delete_dependents_first(self, resource: Resource, owner: Obj) -> None:
        uid = owner["metadata"]["uid"]
        for kind, obj in self._living_dependents(uid):
            self._collect(kind, obj)
        if not any(_blocks(obj, uid=uid) for _, obj in self._living_dependents(uid)):
            self._drop_finalizer(resource, owner, finalizer=_FOREGROUND)

    def _collect(self, resource: Resource, obj: Obj) -> None:
        """One of its owners is gone or waits: delete the object, unless another one of them holds it."""
        metadata = obj["metadata"]
        if "deletionTimestamp" in metadata:
            return
        standings = [self._standing(reference) for reference in metadata.get("ownerReferences") or ()]
        if _SOLID in standings:
            self._registry.update(resource, _with_owners(obj, kept=lambda each: self._standing(each) == _SOLID))
            return
        own = self._living_dependents(metadata["uid"])
        if _WAITING in standings and own:
            if any(_waits(each) for _, each in own):  # a circle: somebody must not wait
                obj = self._registry.update(resource, _unblocking(obj))
            self._delete(resource, obj, propagation="Foreground")
        else:
            self._delete(resource, obj, propagation=_PROPAGATIONS.get(_held(obj), "Background"))

    def _standing(self, reference: Obj) -> str:
        place = self._places.get(reference["uid"])
        owner = self._find(place, uid=reference["uid"]) if place is not None else None
        if owner is None:
            return _GONE
        return _WAITING if _waits(owner[1]) else _SOLID

    def _delete(self, resource: Resource, obj: Obj, *, propagation: str) -> None:
        metadata = obj["metadata"]
        with contextlib.suppress(NotFound):
            self._registry.delete(
                resource,
                metadata.get("namespace"),
                metadata["name"],
                propagation=propagation,
                preconditions_uid=metadata["uid"],
            )

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


def _waits(owner: Obj) -> bool:
    metadata = owner["metadata"]
    return "deletionTimestamp" in metadata and _FOREGROUND in (metadata.get("finalizers") or ())


def _held(obj: Obj) -> str:
    """The finalizer by which an object says how it wants to be deleted."""
    finalizers = obj["metadata"].get("finalizers") or ()
    return next((name for name in (_ORPHAN, _FOREGROUND) if name in finalizers), "")


def _blocks(obj: Obj, *, uid: str) -> bool:
    references = obj["metadata"].get("ownerReferences") or ()
    return any(reference["uid"] == uid and reference.get("blockOwnerDeletion") for reference in references)


def _unblocking(obj: Obj) -> Obj:
    references = [{**each, "blockOwnerDeletion": False} for each in obj["metadata"]["ownerReferences"]]
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}


def _with_owners(obj: Obj, *, kept: Callable[[Obj], bool]) -> Obj:
    left = [reference for reference in obj["metadata"].get("ownerReferences") or () if kept(reference)]
    metadata = {**obj["metadata"], "ownerReferences": left}
    if not left:
        del metadata["ownerReferences"]
    return {**obj, "metadata": metadata}
