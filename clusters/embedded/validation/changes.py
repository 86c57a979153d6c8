"""What may not change once an object exists (pure)."""

import json
from collections.abc import Iterator
from typing import Final

from clusters.embedded.causes import Cause, forbidden, invalid
from clusters.embedded.resources import Obj, Resource, value_at


def check_changes(resource: Resource, old: Obj, new: Obj) -> Iterator[Cause]:
    """Fields that may not change once an object exists."""
    for path in _FIXED.get(resource.key, ()):
        before, after = value_at(old, path), value_at(new, path)
        if before is not None and before != after:
            why = "cannot change roleRef" if path == "roleRef" else "field is immutable"
            yield invalid(path, after, why)
    yield from _finalizers(old["metadata"], new["metadata"])
    if resource.key == "services":
        before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
        if before and after and before != after:
            yield invalid("spec.clusterIPs[0]", [after], "may not change once set")
    if old.get("immutable") and any(old.get(k) != new.get(k) for k in ("data", "binaryData", "immutable")):
        yield forbidden("data", "field is immutable when `immutable` is set")


def _finalizers(old: Obj, new: Obj) -> Iterator[Cause]:
    added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
    if added and "deletionTimestamp" in old:
        names = ", ".join(json.dumps(name) for name in added)
        why = "no new finalizers can be added if the object is being deleted, found new finalizers"
        yield forbidden("metadata.finalizers", f"{why} []string{{{names}}}")


_FIXED: Final[dict[str, tuple[str, ...]]] = {
    "deployments.apps": ("spec.selector",),
    "replicasets.apps": ("spec.selector",),
    "jobs.batch": ("spec.selector", "spec.template", "spec.completionMode"),
    "pods": ("spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName"),
    "secrets": ("type",),
    "rolebindings.rbac.authorization.k8s.io": ("roleRef",),
    "clusterrolebindings.rbac.authorization.k8s.io": ("roleRef",),
    "storageclasses.storage.k8s.io": ("provisioner", "parameters", "reclaimPolicy"),
    "customresourcedefinitions.apiextensions.k8s.io": ("spec.group", "spec.scope"),
}
