"""Who owns what: ownerReferences of a controller, and orphans with the right labels that are taken on."""

import hashlib
import json
from typing import Final

from clusters.embedded.conditions import has_ended
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Obj, Resource, copied_object
from clusters.embedded.selectors import from_object

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def controller_of(obj: Obj) -> Obj | None:
    """The ownerReference with ``controller: true``."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def is_controlled_by(obj: Obj, owner: Obj) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == owner["metadata"]["uid"]


def reference_to(owner: Obj, *, resource: Resource) -> Obj:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def with_owner(obj: Obj, owner: Obj, *, resource: Resource) -> Obj:
    """A copy of an orphan that belongs to ``owner``."""
    references = [*(obj["metadata"].get("ownerReferences") or ()), reference_to(owner, resource=resource)]
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}


def claim(registry: Registry, resource: Resource, *, owner: Obj, kind: Resource) -> list[Obj]:
    """The objects an owner has, and orphans with its labels, which it takes on."""
    selector, found = from_object(owner["spec"]["selector"]), []
    for candidate in registry.list(resource, owner["metadata"]["namespace"]):
        if is_controlled_by(candidate, owner):
            found.append(candidate)
        elif _may_claim(candidate, owner=owner) and selector.matches(candidate["metadata"].get("labels")):
            found.append(registry.update(resource, with_owner(candidate, owner, resource=kind)))
    return found


def _may_claim(candidate: Obj, *, owner: Obj) -> bool:
    ending = "deletionTimestamp" in candidate["metadata"] or "deletionTimestamp" in owner["metadata"]
    return controller_of(candidate) is None and not ending and not has_ended(candidate)


def takers_of(registry: Registry, orphan: Obj, *, kind: Resource) -> list[tuple[str, str]]:
    """Who of this kind would take it on: namespace and name of each."""
    namespace, labels = orphan["metadata"]["namespace"], orphan["metadata"].get("labels")
    owners = registry.list(kind, namespace)
    return [
        (namespace, owner["metadata"]["name"])
        for owner in owners
        if from_object(owner["spec"]["selector"]).matches(labels)
    ]


def pod_of(owner: Obj, *, resource: Resource) -> Obj:
    """A new pod of a ReplicaSet or Job, by its template."""
    template = copied_object(owner["spec"]["template"])
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            **{key: metadata[key] for key in ("labels", "annotations", "finalizers") if key in metadata},
            "generateName": f"{owner['metadata']['name']}-",
            "ownerReferences": [reference_to(owner, resource=resource)],
        },
        "spec": template["spec"],
    }


def template_hash(template: Obj, *, collisions: int = 0) -> str:
    """Ten characters that stand for a pod template, without vowels, so that no words come about."""
    text = json.dumps([template, collisions], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)
