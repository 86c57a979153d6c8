"""Taking the router out of a cluster again: exactly what was made, and nothing that is somebody else's.

An object goes only when it carries this studio's label. A CustomResourceDefinition stays while objects of it are there,
the namespace stays when it is not ours or holds anything of others.
"""

from collections.abc import Iterable

from clusters.install import manifests
from clusters.install.leftovers import foreign_objects
from clusters.install.progress import Done, Going, Verdict, ours
from clusters.install.run import SYSTEM, Look, Plan, StepClock
from clusters.kube.client import Kube
from clusters.kube.kinds import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    INSTANCE_TYPES,
    LEASES,
    NAMESPACES,
    ONLINE_ENDPOINTS,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
    Obj,
)
from routerd import contract

_APPS = (contract.ROUTER, contract.ARTIFACTS)


def remove_workloads(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """Workloads, Services and the cache's volume; done when no pod is left."""
    for name in _APPS:
        _remove(kube, DEPLOYMENTS, name, plan)
    for name in (contract.ROUTER_SERVICE, contract.PRIVATE_SERVICE, *_APPS):
        _remove(kube, SERVICES, name, plan)
    _remove(kube, POD_DISRUPTION_BUDGETS, contract.ROUTER, plan)
    selector = f"{contract.STUDIO}={plan.studio},{contract.APP_NAME} in ({','.join(_APPS)})"
    left = len(kube.list(PODS, SYSTEM, label_selector=selector))
    if left:
        return Going(f"Waiting for {left} pod{'' if left == 1 else 's'} to end.")
    _remove(kube, PERSISTENT_VOLUME_CLAIMS, contract.ARTIFACTS, plan)
    return Done("Ended.")


def remove_rights(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """Bindings, roles, accounts, tokens."""
    for binding in kube.list(ROLE_BINDINGS, label_selector=f"{contract.STUDIO}={plan.studio}"):
        if binding["metadata"]["name"] in (manifests.ROUTER_ROLE, contract.ROUTER):
            kube.delete(ROLE_BINDINGS, binding["metadata"]["name"], binding["metadata"]["namespace"])
    _remove(kube, ROLES, contract.ROUTER, plan)
    _remove(kube, CLUSTER_ROLES, manifests.ROUTER_ROLE, plan)
    for name in _APPS:
        _remove(kube, SERVICE_ACCOUNTS, name, plan)
    for name in (contract.ADMIN_SECRET, contract.ARTIFACTS):
        _remove(kube, SECRETS, name, plan)
    _remove(kube, CONFIG_MAPS, contract.TARGETS_CONFIGMAP, plan)
    if kube.find(LEASES, contract.LEADER_LEASE, SYSTEM):
        kube.delete(LEASES, contract.LEADER_LEASE, SYSTEM)  # made by the router that is gone
    return Done("Taken back.")


def remove_definitions(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """Our instance types, then each definition of which no object is left."""
    own = {size.name for size in plan.sizes}
    for kind in (INSTANCE_TYPES, ONLINE_ENDPOINTS):
        if kube.find(CUSTOM_RESOURCE_DEFINITIONS, f"{kind.plural}.{contract.GROUP}") is None:
            continue
        objects = kube.list(kind)
        if kind is INSTANCE_TYPES:
            objects = _without(kube, plan, own, objects)
        if not objects:
            _remove(kube, CUSTOM_RESOURCE_DEFINITIONS, f"{kind.plural}.{contract.GROUP}", plan)
    kept = [
        kind.kind
        for kind in (INSTANCE_TYPES, ONLINE_ENDPOINTS)
        if (there := kube.find(CUSTOM_RESOURCE_DEFINITIONS, f"{kind.plural}.{contract.GROUP}"))
        and not there["metadata"].get("deletionTimestamp")
    ]
    return Done(f"Kept, because others use it: {', '.join(kept)}." if kept else "Removed.")


def _without(kube: Kube, plan: Plan, own: set[str], objects: Iterable[Obj]) -> list[Obj]:
    """What is left of the InstanceTypes when ours are deleted."""
    left: list[Obj] = []
    for each in objects:
        name = str(each["metadata"]["name"])
        if name in own and ours(each, studio=plan.studio):
            kube.delete(INSTANCE_TYPES, name)
        else:
            left.append(each)
    return left


def remove_namespace(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """slipway-system, when we made it and nothing of others is in it; done when it is gone."""
    builds = kube.find(NAMESPACES, contract.BUILDS_NAMESPACE)
    made = builds is not None and ours(builds, studio=plan.studio)
    if builds and made and not foreign_objects(kube, contract.BUILDS_NAMESPACE, studio=plan.studio):
        kube.delete(NAMESPACES, contract.BUILDS_NAMESPACE, uid=builds["metadata"]["uid"])
    there = kube.find(NAMESPACES, SYSTEM)
    if there is None:
        return Done("Removed.")
    if there["metadata"].get("deletionTimestamp"):
        return Going(f"Waiting for {SYSTEM} to go.")
    if not ours(there, studio=plan.studio):
        return Done(f"{SYSTEM} stays: Slipway did not make it.")
    others = foreign_objects(kube, SYSTEM, studio=plan.studio)
    if others:
        return Done(f"{SYSTEM} stays: it holds {', '.join(others[:3])}, which this studio did not make.")
    kube.delete(NAMESPACES, SYSTEM, uid=there["metadata"]["uid"])
    return Going(f"Waiting for {SYSTEM} to go.")


def _remove(kube: Kube, kind: Kind, name: str, plan: Plan) -> None:
    namespace = SYSTEM if kind.namespaced else None
    found = kube.find(kind, name, namespace)
    if found and ours(found, studio=plan.studio):
        kube.delete(kind, name, namespace)


REMOVALS: tuple[tuple[str, Look], ...] = (
    ("workloads", remove_workloads),
    ("rights", remove_rights),
    ("definitions", remove_definitions),
    ("namespace", remove_namespace),
)
