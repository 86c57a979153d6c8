"""Who owns what: ownerReferences of a controller (pure)."""

import hashlib
import json
from typing import Final

from clusters.embedded.resources import Obj, Resource, copied_object

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
