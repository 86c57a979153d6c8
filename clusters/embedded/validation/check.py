"""Rules an object must keep, beyond the types of its fields (pure).

Names and labels for every kind; for the kinds people write by hand, what a real API server refuses and
what our controllers rely on. Causes carry the field's path and the API server's wording.
"""

from collections.abc import Callable, Iterator
from typing import Final

from clusters.embedded.causes import Cause
from clusters.embedded.errors import Invalid
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.schemas import structural
from clusters.embedded.validation import definitions, kinds, pods, rbac
from clusters.embedded.validation.changes import check_changes
from clusters.embedded.validation.names import check_metadata


def validate(resource: Resource, obj: Obj, *, old: Obj | None) -> None:
    """Raises Invalid with every rule that is broken."""
    causes = list(check_metadata(resource, obj["metadata"]))
    if resource.schema is not None:
        causes += structural.validate(obj, resource.schema)
    function = _KINDS.get(resource.key)
    if function is not None:
        causes += function(obj)
    if old is not None:
        causes += check_changes(resource, old, obj)
    if causes:
        raise Invalid.of(resource, obj["metadata"].get("name", ""), causes)


_KINDS: Final[dict[str, Callable[[Obj], Iterator[Cause]]]] = {
    "pods": pods.pod,
    "deployments.apps": kinds.deployment,
    "replicasets.apps": kinds.workload,
    "jobs.batch": kinds.job,
    "services": kinds.service,
    "configmaps": kinds.data,
    "secrets": kinds.data,
    "customresourcedefinitions.apiextensions.k8s.io": definitions.definition,
    "roles.rbac.authorization.k8s.io": rbac.role,
    "clusterroles.rbac.authorization.k8s.io": rbac.role,
    "rolebindings.rbac.authorization.k8s.io": rbac.binding,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.binding,
}
