"""Bringing the router into a cluster, one look at a time.

    namespace -> definitions -> rights -> router (and the cache beside it) -> artifacts -> address

Each look goes through the steps in order, does what is not done, and stops at the first that is still on its way: the
caller comes back. Everything is server-side apply of the same objects, so looking twice changes nothing, and a look
after a crash goes on where the last one was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clusters.capacity import Node, read_nodes
from clusters.install import manifests, workloads
from clusters.install.address import judge_address
from clusters.install.manifests import Secrets
from clusters.install.progress import (
    Done,
    Going,
    Stuck,
    Verdict,
    WorkloadFacts,
    defined,
    judge_workload,
    other_studio,
)
from clusters.install.settings import RouterSettings, known_address
from clusters.kube.client import Kube
from clusters.kube.errors import NotFound
from clusters.kube.kinds import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STORAGE_CLASSES,
    Obj,
)
from clusters.sizes import Size, instance_type_object
from routerd import contract

SYSTEM = contract.SYSTEM_NAMESPACE
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True)
class Plan:
    """What is to be there."""

    settings: RouterSettings
    secrets: Secrets
    studio: str
    runtime: str
    targets: tuple[str, ...]
    sizes: tuple[Size, ...]


@dataclass(frozen=True)
class StepClock:
    """When a step was begun, None while it has not: then its objects are still to be applied."""

    now: datetime
    begun: datetime | None

    @property
    def since(self) -> datetime:
        return self.begun or self.now


Look = Callable[[Kube, Plan, StepClock], Verdict]


def look_at_namespace(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """Make slipway-system, unless another studio lives there."""
    there = kube.find(NAMESPACES, SYSTEM)
    found = [there, *(kube.find(DEPLOYMENTS, name, SYSTEM) for name in (contract.ROUTER, contract.ARTIFACTS))]
    other = other_studio(found, studio=plan.studio)
    if other:
        return Stuck(
            name="DeploymentConflict",
            text="Another Slipway studio has already installed its router in this cluster.",
            proof=f"{other} carries another studio's label {contract.STUDIO}.",
            fixes=("Uninstall the router there first, or attach this cluster to that studio instead.",),
        )
    if there and there["metadata"].get("deletionTimestamp"):
        return Going(f"Waiting until the earlier {SYSTEM} is gone.")
    if there is None:
        kube.create(manifests.namespace(SYSTEM, studio=plan.studio))
        return Done(f"Made {SYSTEM}.")
    return Done(f"{SYSTEM} is there.")


def look_at_definitions(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:
    """The custom resources, until they are served; then the instance types known so far."""
    found = [_definition(kube, each, plan=plan, clock=clock) for each in manifests.definitions(studio=plan.studio)]
    for name, there in found:
        if not defined(there):
            return Going(f"Waiting for {name} to be served.")
    try:
        for size in plan.sizes:
            kube.apply(instance_type_object(size, studio=plan.studio))
    except NotFound:  # of several API servers, one hears of a definition later than another
        return Going("Waiting for InstanceType to be served everywhere.")
    return Done("OnlineEndpoint and InstanceType are served.")


def _definition(kube: Kube, wanted: Obj, *, plan: Plan, clock: StepClock) -> tuple[str, Obj | None]:
    """Its name and what is there: applied at the first look, for a cluster takes a moment to serve it."""
    name = wanted["metadata"]["name"]
    there = kube.find(CUSTOM_RESOURCE_DEFINITIONS, name)
    if there is None or (clock.begun is None and not other_studio([there], studio=plan.studio)):
        there = kube.apply(wanted)
    return name, there


def look_at_rights(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """Accounts, roles, tokens and the list of namespaces."""
    objects = [
        *manifests.rights(studio=plan.studio, targets=plan.targets, tls=plan.settings.certificates()),
        manifests.admin_secret(plan.secrets, studio=plan.studio),
        manifests.artifacts_secret(plan.secrets, studio=plan.studio),
        manifests.targets_config_map(plan.targets, studio=plan.studio),
    ]
    for each in objects:
        kube.apply(each)
    count = len(plan.targets)
    return Done(f"The router may serve {count} namespace{'' if count == 1 else 's'}.")


def look_at_router(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:
    """The router; the artifact cache starts beside it."""
    if clock.begun is None:
        address = known_address(plan.settings, runtime=plan.runtime)
        for each in workloads.router(plan.settings, studio=plan.studio, address=address):
            kube.apply(each)
        for each in workloads.artifacts(plan.settings, studio=plan.studio, storage=has_storage(kube)):
            kube.apply(each)
    return judge_workload(read_workload(kube, contract.ROUTER), title="The router", now=clock.now, since=clock.since)


def look_at_artifacts(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:  # noqa: ARG001  the same shape for all
    """The artifact cache."""
    return judge_workload(
        read_workload(kube, contract.ARTIFACTS), title="The artifact cache", now=clock.now, since=clock.since
    )


def look_at_address(kube: Kube, plan: Plan, clock: StepClock) -> Verdict:
    """Where callers reach it."""
    field = f"involvedObject.kind=Service,involvedObject.name={contract.ROUTER_SERVICE}"
    return judge_address(
        kube.find(SERVICES, contract.ROUTER_SERVICE, SYSTEM),
        events=kube.list(EVENTS, SYSTEM, field_selector=field),
        nodes=_nodes(kube),
        given=plan.settings.address,
        scheme=plan.settings.scheme,
        now=clock.now,
        since=clock.since,
    )


LOOKS: tuple[tuple[str, Look], ...] = (
    ("namespace", look_at_namespace),
    ("definitions", look_at_definitions),
    ("rights", look_at_rights),
    ("router", look_at_router),
    ("artifacts", look_at_artifacts),
    ("address", look_at_address),
)


def read_workload(kube: Kube, name: str) -> WorkloadFacts:
    """One of our two workloads with everything that tells how it does."""
    selector = f"{contract.APP_NAME}={name}"
    pods = sorted(kube.list(PODS, SYSTEM, label_selector=selector), key=_age)
    events = [each for each in kube.list(EVENTS, SYSTEM) if _about(each, name)]
    return WorkloadFacts(
        workload=kube.find(DEPLOYMENTS, name, SYSTEM),
        replica_sets=kube.list(REPLICA_SETS, SYSTEM, label_selector=selector),
        pods=pods,
        events=events,
    )


def has_storage(kube: Kube) -> bool:
    """Whether a claim without a class gets a volume."""
    classes = kube.list(STORAGE_CLASSES)
    return any((each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true" for each in classes)


def _nodes(kube: Kube) -> tuple[Node, ...]:
    return read_nodes(kube.list(NODES), [])


def _age(obj: Obj) -> str:
    return str(obj["metadata"].get("creationTimestamp") or "")


def _about(event: Obj, name: str) -> bool:
    return str((event.get("involvedObject") or {}).get("name") or "").startswith(name)
