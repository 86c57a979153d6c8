"""What happens to an object's metadata between its making and its end (pure).

    create --> live --delete--> terminating --(last finalizer gone, pod stopped)--> removed
                  \\____________ nothing stands in the way ____________________________/

Pods go gracefully: a scheduled pod is marked and stays until the kubelet deletes it with grace 0. A
namespace stays until the namespace controller has emptied it and takes `spec.finalizers` away.
"""

import random
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from clusters.embedded.causes import required
from clusters.embedded.conditions import has_ended
from clusters.embedded.errors import BadRequest, Conflict, Invalid
from clusters.embedded.resources import NAMESPACES, NODES, PODS, Obj, Resource, copied, copied_object

_SYSTEM_METADATA: Final = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "selfLink",
)
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by chance
_FOREGROUND: Final = "foregroundDeletion"
_ORPHAN: Final = "orphan"


def rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")[:19] + "Z"  # a fifth of what strftime costs


def for_create(resource: Resource, obj: Obj, *, namespace: str | None, now: datetime) -> Obj:
    """A copy of `obj` with all the metadata a new object has. Raises BadRequest, Invalid."""
    new = typed(resource, copied_object(obj))
    metadata = new["metadata"]
    if metadata.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    for name in _SYSTEM_METADATA:
        metadata.pop(name, None)
    _place(resource, metadata, namespace=namespace)
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(random.choices(_SUFFIX, k=5))  # noqa: S311 -- a name, not a secret
        metadata["name"] = str(metadata["generateName"])[:58] + suffix
    if not metadata.get("name"):
        raise Invalid.of(resource, "", [required("metadata.name", "name or generateName is required")])
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = rfc3339(now)
    _drop_empty(metadata)
    if resource.generation or resource.custom:
        metadata["generation"] = 1
    if resource.has_status and resource != NODES:
        new.pop("status", None)
    return new


def typed(resource: Resource, obj: Obj) -> Obj:
    """`obj` with apiVersion, kind and a metadata object; BadRequest if it says it is something else."""
    for field, value in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if obj.get(field) not in (None, "", value):
            raise BadRequest(f"the {field} in the data ({obj[field]}) does not match the expected {field} ({value})")
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise BadRequest("metadata must be an object")
    rest = {k: v for k, v in obj.items() if k not in {"apiVersion", "kind", "metadata"}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **rest}


def _drop_empty(metadata: Obj) -> None:
    """What is empty is not there, once it is stored."""
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]


def _place(resource: Resource, metadata: Obj, *, namespace: str | None) -> None:
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    named = metadata.get("namespace") or namespace
    if not named:
        raise BadRequest(f"a namespace is required for {resource.qualified}")
    if namespace and named != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = named


def for_apply(resource: Resource, applied: Obj, *, namespace: str | None, name: str) -> Obj:
    """A copy of an applied configuration, checked against the path it was sent to."""
    if "apiVersion" not in applied or "kind" not in applied:
        raise BadRequest("an applied configuration must name its apiVersion and kind")
    wanted = typed(resource, copied_object(applied))
    metadata = wanted["metadata"]
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    if metadata.setdefault("name", name) != name:
        raise BadRequest(f"the name of the object ({metadata['name']}) does not match the URL ({name})")
    _place(resource, metadata, namespace=namespace)
    return wanted


def for_update(resource: Resource, old: Obj, obj: Obj, *, subresource: str) -> Obj:
    """A copy of `obj` that keeps of `old` what this way of writing cannot change."""
    if subresource == "status":
        status = typed(resource, obj).get("status")
        return copied_object({**old, "status": old.get("status", {}) if status is None else status})
    new = typed(resource, copied_object(obj))
    for name in _SYSTEM_METADATA:
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]
        else:
            new["metadata"].pop(name, None)
    if "managedFields" not in (obj.get("metadata") or {}) and "managedFields" in old["metadata"]:
        new["metadata"]["managedFields"] = copied(old["metadata"]["managedFields"])
    _drop_empty(new["metadata"])
    if resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copied(old["status"])
    if resource == NAMESPACES and subresource != "finalize":
        new["spec"] = copied(old.get("spec", {}))
    return new


def check_preconditions(resource: Resource, old: Obj, wanted: Obj) -> None:
    """Raises Conflict when `wanted` names another uid or resourceVersion than the object has."""
    metadata = old["metadata"]
    for field, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        value = wanted.get(field)
        if value and value != metadata[field]:
            told = f"Precondition failed: {words} in precondition: {value}, {words} in object meta: {metadata[field]}"
            raise Conflict.of(resource, metadata["name"], why="" if field == "resourceVersion" else told)


def check_deletion(resource: Resource, old: Obj, *, uid: str | None, revision: str | None) -> None:
    """Raises Conflict when a deletion was meant for another object, or for another version of it."""
    metadata = old["metadata"]
    for word, wanted, found, after in (
        ("UID", uid, metadata["uid"], "deleted and then recreated"),
        ("ResourceVersion", revision, metadata["resourceVersion"], "modified"),
    ):
        if wanted and wanted != found:
            why = f"the {word} in the precondition ({wanted}) does not match the {word} in record ({found})."
            raise Conflict.of_kind(resource, metadata["name"], why=f"{why} The object might have been {after}")


def same(old: Obj, new: Obj) -> bool:
    """Whether nothing but the moments in managedFields differs."""
    return _timeless(old) == _timeless(new)


def _timeless(obj: Obj) -> Obj:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
    entries = metadata.get("managedFields")
    if entries:
        metadata["managedFields"] = [{k: v for k, v in e.items() if k != "time"} for e in entries]
    return {**obj, "metadata": metadata}


def bump_generation(resource: Resource, old: Obj, new: Obj) -> None:
    if not (resource.generation or resource.custom):
        return
    ignored = {"metadata", "status"} if resource.has_status else {"metadata"}
    before = {k: v for k, v in old.items() if k not in ignored}
    after = {k: v for k, v in new.items() if k not in ignored}
    if before != after:
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def for_delete(
    resource: Resource, old: Obj, *, propagation: str, grace_seconds: int | None, now: datetime
) -> Obj | None:
    """The object marked as being deleted, or None when it can vanish at once."""
    new = copied_object(old)
    metadata = new["metadata"]
    grace = _grace(resource, old, asked=grace_seconds)
    if "deletionTimestamp" not in metadata:
        _add_finalizer(metadata, propagation=propagation)
        metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if resource.generation or resource.custom:
            metadata["generation"] = metadata.get("generation", 0) + 1
    elif grace < metadata.get("deletionGracePeriodSeconds", 0):
        metadata["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
    if resource == NAMESPACES:
        new["status"] = {**new.get("status", {}), "phase": "Terminating"}
    return None if may_vanish(resource, new) else new


def may_vanish(resource: Resource, obj: Obj) -> bool:
    """Whether a deletion has nothing to wait for any more."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource == NAMESPACES and (obj.get("spec") or {}).get("finalizers"):
        return False
    return resource != PODS or not metadata.get("deletionGracePeriodSeconds")


def _grace(resource: Resource, old: Obj, *, asked: int | None) -> int:
    if resource != PODS:
        return 0
    if not old["spec"].get("nodeName") or has_ended(old):
        return 0
    if asked is not None:
        return max(asked, 0)
    already: Any = old["metadata"].get("deletionGracePeriodSeconds")
    if already is not None:
        return int(already)
    return int(old["spec"].get("terminationGracePeriodSeconds", 30))


def _add_finalizer(metadata: Obj, *, propagation: str) -> None:
    finalizer = {"Foreground": _FOREGROUND, "Orphan": _ORPHAN}.get(propagation)
    held = [f for f in metadata.get("finalizers", []) if f not in {_FOREGROUND, _ORPHAN}]
    if finalizer:
        held.append(finalizer)
    if held:
        metadata["finalizers"] = held
    else:
        metadata.pop("finalizers", None)
