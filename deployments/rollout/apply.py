"""Bring a revision, or what routers should know of an endpoint, into the cluster.

Who owns `replicas` (design: "Replicas"): the workload is made with a count. Where the router decides, its field manager
takes co-ownership of the very same count at once, by an apply of that one field; from then on our applies leave it out
and the count stays. A plain patch to the same number would not do, because only a change gives ownership. Where the
count is fixed, our apply writes it and takes ownership back.
"""

from clusters.kube.client import Kube
from clusters.kube.kinds import DEPLOYMENTS, Obj
from deployments.manifests import Placement, deployment_objects, online_endpoint
from deployments.models import Deployment, Endpoint
from deployments.queries.desired import WantedRevision, wanted_endpoint
from deployments.specs import DeploymentSpec
from routerd import contract

_ROUNDS = 5


def apply_revision(kube: Kube, *, wanted: WantedRevision, placement: Placement) -> None:
    """Make the cluster hold this revision's objects. Twice does nothing."""
    spec = wanted.spec
    name = contract.workload_name(endpoint=spec.endpoint_name, deployment=spec.name)
    there = kube.find(DEPLOYMENTS, name, placement.namespace)
    replicas = _replicas_to_write(spec, there=there)
    if there is not None and replicas is None:
        _hand_over(kube, there, replicas=max(1, _count(there)))
    for obj in deployment_objects(spec, placement=placement, replicas=replicas):
        applied = kube.apply(obj)
        if obj["kind"] == "Deployment" and spec.scale.automatic and there is None:
            _hand_over(kube, applied, replicas=spec.replicas_at_start)


def _replicas_to_write(spec: DeploymentSpec, *, there: Obj | None) -> int | None:
    if spec.scale.automatic and there is not None:
        return None
    return spec.replicas_at_start


def _count(workload: Obj) -> int:
    return int((workload.get("spec") or {}).get("replicas", 1))


def _hand_over(kube: Kube, workload: Obj, *, replicas: int) -> None:
    """Let the router own the count from now on. At least 1 during a rollout: one that starts nothing proves nothing."""
    meta = workload["metadata"]
    count = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": {"replicas": replicas},
    }
    kube.apply(count, manager=contract.ROUTER_FIELD_MANAGER)


def apply_endpoint(kube: Kube, *, endpoint: Endpoint) -> int:
    """Make the cluster's OnlineEndpoint say what the rows say. Returns its generation.

    Two workers may do this at once with what each has read; whoever finds the rows changed afterwards applies again, so
    the last one to look leaves the newest state behind.
    """
    shape, deployments = wanted_endpoint(endpoint)
    for _ in range(_ROUNDS):
        wanted = online_endpoint(shape, deployments=deployments)
        applied = kube.apply(wanted)
        shape, deployments = wanted_endpoint(endpoint)
        if online_endpoint(shape, deployments=deployments) == wanted:
            break
    return int(applied["metadata"].get("generation") or 0)


def set_applied(deployment: Deployment, *, revision: int) -> None:
    """Write down which revision lies in the cluster."""
    deployment.applied_revision = revision
    deployment.save(update_fields=["applied_revision", "updated_at"])
