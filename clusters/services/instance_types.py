"""Instance types: a row here and an InstanceType in the cluster, written together."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.install.progress import ours
from clusters.kube.errors import NotFound
from clusters.kube.kinds import INSTANCE_TYPES
from clusters.models import Cluster, InstanceType
from clusters.recorder import changed
from clusters.services.subjects import told, type_subject
from clusters.sizes import Size, check_size, instance_type_object
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.services.audit import record


def create_instance_type(
    cluster: Cluster,
    *,
    name: str,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    actor: Actor,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> InstanceType:
    """Offer a size on a cluster. Raises FieldErrors at name, requests.cpu, limits.memory, ..."""
    size = _checked(name, requests=requests, limits=limits, node_selector=node_selector, tolerations=tolerations)
    if name == "new" or cluster.instance_types.filter(name=name).exists():
        raise FieldErrors({"name": [f"There is already an instance type {name} on {cluster}. Must be another name."]})
    _refuse_shared(cluster, size)
    _write_to_cluster(cluster, size, new=True)
    with transaction.atomic():
        row = InstanceType.objects.create(cluster=cluster, name=name, **_columns(size))
        record(
            actor,
            workspace=cluster.workspace,
            action="instance-type.create",
            subject=type_subject(row),
            after=_columns(size),
        )
        changed(cluster)
    return row


def update_instance_type(
    row: InstanceType,
    *,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    actor: Actor,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> InstanceType:
    """Change a size. Replicas that run keep theirs until their next deploy."""
    size = _checked(row.name, requests=requests, limits=limits, node_selector=node_selector, tolerations=tolerations)
    _write_to_cluster(row.cluster, size, new=False)
    before = _columns_of(row)
    with transaction.atomic():
        # The same cluster attached elsewhere offers the same object.
        InstanceType.objects.filter(cluster__uid=row.cluster.uid, name=row.name).update(**_columns(size))
        row.refresh_from_db()
        record(
            actor,
            workspace=row.cluster.workspace,
            action="instance-type.update",
            subject=type_subject(row),
            before=before,
            after=_columns(size),
        )
        changed(row.cluster)
    return row


def delete_instance_type(row: InstanceType, *, actor: Actor) -> None:
    """Take a size away. Replicas of it go on; a next deploy must name another."""
    cluster = row.cluster
    shared = InstanceType.objects.filter(cluster__uid=cluster.uid, name=row.name).exclude(pk=row.pk).exists()
    if not shared:
        with told(cluster):
            kube = kube_for(cluster)
            found = kube.find(INSTANCE_TYPES, row.name)
            if found and ours(found, studio=studio_uuid()):
                kube.delete(INSTANCE_TYPES, row.name)
    with transaction.atomic():
        record(
            actor,
            workspace=cluster.workspace,
            action="instance-type.delete",
            subject=type_subject(row),
            before=_columns_of(row),
        )
        row.delete()
        changed(cluster)


def _checked(
    name: str,
    *,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    node_selector: Mapping[str, str] | None,
    tolerations: Sequence[Mapping[str, Any]],
) -> Size:
    return check_size(
        name=name, requests=requests, limits=limits, node_selector=node_selector, tolerations=tuple(tolerations)
    )


def _refuse_shared(cluster: Cluster, size: Size) -> None:
    """InstanceTypes lie in the cluster as a whole: two workspaces cannot mean different things by one name."""
    other = InstanceType.objects.filter(cluster__uid=cluster.uid, name=size.name).first()
    if other and _columns_of(other) != _columns(size):
        raise FieldErrors(
            {"name": [f"{size.name} is already another size on this cluster. Must be another name, or the same size."]}
        )


def _write_to_cluster(cluster: Cluster, size: Size, *, new: bool) -> None:
    """Before the definitions are installed only the row exists; installing brings the objects along."""
    studio = studio_uuid()
    with told(cluster):
        kube = kube_for(cluster)
        found = kube.find(INSTANCE_TYPES, size.name)
        if new and found and not ours(found, studio=studio):
            raise FieldErrors(
                {"name": [f"The cluster already has an InstanceType {size.name} that this studio did not make."]}
            )
        try:
            kube.apply(instance_type_object(size, studio=studio))
        except NotFound:
            return


def _columns(size: Size) -> dict[str, Any]:
    return {
        "requests": dict(size.requests),
        "limits": dict(size.limits),
        "node_selector": dict(size.node_selector),
        "tolerations": [dict(each) for each in size.tolerations],
    }


def _columns_of(row: InstanceType) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("requests", "limits", "node_selector", "tolerations")}
