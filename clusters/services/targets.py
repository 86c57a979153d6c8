"""Compute targets: a namespace of a cluster, lent to a workspace.

The namespace is checked, and made only when asked for. The router is given its rights there, and told of it by the
ConfigMap slipway-targets, before the row is written: a target on the page is one that works.
"""

import re

from django.db import IntegrityError, transaction
from django.db.models import Q

from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.install import manifests
from clusters.install.leftovers import foreign_objects
from clusters.install.progress import other_studio, ours
from clusters.kube.client import Kube
from clusters.kube.kinds import CONFIG_MAPS, NAMESPACES, ROLE_BINDINGS
from clusters.models import Cluster, ClusterState, ComputeTarget, RouterState
from clusters.queries import namespaces_of
from clusters.recorder import changed
from clusters.services.attach import NAME, NAME_RULE
from clusters.services.subjects import subject_of, told
from routerd import contract
from studio.actor import Actor
from studio.errors import FieldErrors, SlipwayError
from studio.models import Workspace
from studio.services.audit import record

_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
NEVER = ("kube-system", "kube-public", "kube-node-lease", contract.SYSTEM_NAMESPACE, contract.BUILDS_NAMESPACE)


def create_target(
    workspace: Workspace,
    *,
    cluster: Cluster,
    name: str,
    namespace: str,
    create_namespace: bool,
    actor: Actor,
    description: str = "",
) -> ComputeTarget:
    """Lend a namespace of `cluster` to `workspace`. Raises FieldErrors at name, namespace, cluster; SlipwayError."""
    _check(workspace, cluster=cluster, name=name, namespace=namespace)
    kube = kube_for(cluster)
    with told(cluster):
        made = _ensure_namespace(kube, namespace, create=create_namespace, cluster=cluster)
        _refuse_foreign_router(kube, cluster)
        if cluster.router_state != RouterState.ABSENT:
            _bind_router(kube, namespace, others=namespaces_of(cluster.uid))
    try:
        with transaction.atomic():
            target = ComputeTarget.objects.create(
                workspace=workspace,
                cluster=cluster,
                name=name,
                namespace=namespace,
                namespace_made_by_us=made,
                description=description[:300],
            )
            after = {"cluster": cluster.name, "namespace": namespace, "namespace_made": made}
            record(actor, workspace=workspace, action="target.create", subject=subject_of(target), after=after)
            changed(cluster)
    except IntegrityError as error:
        raise FieldErrors({"name": [f"There is already a compute target {name}, or one in {namespace}."]}) from error
    return target


def delete_target(target: ComputeTarget, *, actor: Actor) -> None:
    """Take a namespace back; it goes from the cluster only when Slipway made it and nothing of others is in it."""
    endpoints = sorted(target.endpoints.values_list("name", flat=True))
    if endpoints:
        raise SlipwayError(
            f"Compute target {target} still runs the endpoints {', '.join(endpoints)}. Delete them first."
        )
    cluster = target.cluster
    with told(cluster):
        kube = kube_for(cluster)
        _refuse_foreign_router(kube, cluster)
        kube.delete(ROLE_BINDINGS, manifests.ROUTER_ROLE, target.namespace)
        remaining = [each for each in namespaces_of(cluster.uid) if each != target.namespace]
        if cluster.router_state != RouterState.ABSENT:
            kube.apply(manifests.targets_config_map(remaining, studio=studio_uuid()))
        if target.namespace_made_by_us:
            _remove_namespace(kube, target.namespace)
    with transaction.atomic():
        before = {"cluster": cluster.name, "namespace": target.namespace}
        record(actor, workspace=target.workspace, action="target.delete", subject=subject_of(target), before=before)
        target.delete()
        changed(cluster)


def _check(workspace: Workspace, *, cluster: Cluster, name: str, namespace: str) -> None:
    errors: dict[str, list[str]] = {}
    if not NAME.match(name) or name == "new":
        errors["name"] = [NAME_RULE]
    elif ComputeTarget.objects.filter(workspace=workspace, name=name).exists():
        errors["name"] = [f"There is already a compute target {name}. Must be another name."]
    if namespace in NEVER or namespace.startswith("kube-"):
        errors["namespace"] = [f"{namespace} belongs to the cluster itself. Must be another namespace."]
    elif not _NAMESPACE.match(namespace):
        errors["namespace"] = ["Must be 1 to 63 lower-case letters, digits or dashes."]
    elif ComputeTarget.objects.filter(Q(cluster__uid=cluster.uid) | Q(cluster=cluster), namespace=namespace).exists():
        errors["namespace"] = [f"{namespace} is lent already. Must be a namespace no other compute target uses."]
    if cluster.state != ClusterState.CONNECTED:
        errors["cluster"] = [f"{cluster} is not connected now. Must be a cluster that answers."]
    if errors:
        raise FieldErrors(errors)


def _ensure_namespace(kube: Kube, name: str, *, create: bool, cluster: Cluster) -> bool:
    """Whether it is one Slipway made."""
    found = kube.find(NAMESPACES, name)
    if found is None:
        if not create:
            raise FieldErrors(
                {"namespace": [f"{cluster} has no namespace {name}. Choose one it has, or tick that it is to be made."]}
            )
        kube.create(manifests.namespace(name, studio=studio_uuid()))
        return True
    if found["metadata"].get("deletionTimestamp"):
        raise FieldErrors({"namespace": [f"{name} is just being deleted. Must be one that stays."]})
    return ours(found, studio=studio_uuid())


def _refuse_foreign_router(kube: Kube, cluster: Cluster) -> None:
    """The list of namespaces of another studio's router is not ours to write."""
    listed = kube.find(CONFIG_MAPS, contract.TARGETS_CONFIGMAP, contract.SYSTEM_NAMESPACE)
    if other_studio([listed], studio=studio_uuid()):
        raise SlipwayError(
            f"The router of {cluster} belongs to another Slipway studio, which alone lends namespaces to it. "
            "Uninstall it there first."
        )


def _bind_router(kube: Kube, namespace: str, *, others: list[str]) -> None:
    studio = studio_uuid()
    kube.apply(manifests.target_binding(namespace, studio=studio))
    kube.apply(manifests.targets_config_map([*others, namespace], studio=studio))


def _remove_namespace(kube: Kube, name: str) -> None:
    found = kube.find(NAMESPACES, name)
    studio = studio_uuid()
    if found and ours(found, studio=studio) and not foreign_objects(kube, name, studio=studio):
        kube.delete(NAMESPACES, name, uid=found["metadata"]["uid"])
