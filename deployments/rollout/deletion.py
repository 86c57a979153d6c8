"""Deleting deployments and endpoints without losing a request.

First the routers forget it, then what runs is deleted, then we wait until nothing is left; only then the rows go. What
is left is asked of the cluster by label each time, so a deletion that was interrupted goes on where it was.
"""

from datetime import datetime, timedelta

from clusters.connections import kube_for
from clusters.kube.client import Kube
from clusters.kube.errors import KubeError
from clusters.kube.kinds import ONLINE_ENDPOINTS
from deployments.models import Deployment, Endpoint
from deployments.rollout.apply import apply_endpoint, set_applied
from deployments.rollout.errors import NotYetError, RolloutError
from deployments.rollout.remove import delete_objects, what_is_left
from deployments.rollout.routers import require_in_force
from studio.live import notify
from studio.models import Operation
from studio.services.operations import begin_step, finish_step, say, set_deadline, set_summary, succeed, update_step

_AFTER_TROUBLE = 5.0
_LOOK_AGAIN = 5.0


def advance_deployment_deletion(op: Operation, *, now: datetime) -> None:
    """Delete one deployment. Called with the Operation claimed."""
    rows = Deployment.objects.select_related("endpoint__target__cluster", "endpoint__workspace")
    deployment = rows.filter(pk=op.params["deployment"]).first()
    if deployment is None:
        succeed(op, summary="Nothing of it is left.")
        return
    endpoint = deployment.endpoint
    with _Patience(op, now=now):
        kube = kube_for(endpoint.target.cluster)
        _leave_router(op, kube, endpoint=endpoint, deployment=deployment, now=now)
        _delete(op, kube, endpoint=endpoint, deployment=deployment.name)
        deployment.delete()
        notify(f"endpoint-{endpoint.pk}")
        notify(f"workspace-{endpoint.workspace_id}-endpoints")
        succeed(op, summary=f"{op.subject_label} is deleted. Nothing of it is left in the cluster.")


def advance_endpoint_deletion(op: Operation, *, now: datetime) -> None:
    """Delete an endpoint with all its deployments. Called with the Operation claimed."""
    endpoint = Endpoint.objects.select_related("target__cluster", "workspace").filter(pk=op.params["endpoint"]).first()
    if endpoint is None:
        succeed(op, summary="Nothing of it is left.")
        return
    with _Patience(op, now=now):
        kube = kube_for(endpoint.target.cluster)
        _leave_router(op, kube, endpoint=endpoint, deployment=None, now=now)
        _delete(op, kube, endpoint=endpoint, deployment="")
        workspace = endpoint.workspace_id
        endpoint.delete()
        notify(f"workspace-{workspace}-endpoints")
        succeed(op, summary=f"{op.subject_label} is deleted. Nothing of it is left in the cluster.")


class _Patience:
    """What stops a deletion for now: somebody to wait for, or a cluster that does not answer. It never gives up."""

    def __init__(self, op: Operation, *, now: datetime) -> None:
        self._op, self._now = op, now

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if isinstance(error, NotYetError):
            set_deadline(self._op, self._now + timedelta(seconds=error.seconds))
            return True
        if isinstance(error, KubeError):
            set_summary(self._op, f"Waiting for the cluster. {error}")
            say(self._op, str(error), level="warn")
            set_deadline(self._op, self._now + timedelta(seconds=_AFTER_TROUBLE))
            return True
        return False


def _leave_router(
    op: Operation, kube: Kube, *, endpoint: Endpoint, deployment: Deployment | None, now: datetime
) -> None:
    """The routers forget it. When none answers for long, nobody calls it either, and the deletion goes on."""
    begin_step(op, "router")
    if "routing" not in op.params:
        there = kube.find(ONLINE_ENDPOINTS, endpoint.name, endpoint.target.namespace) is not None
        generation = _forget(kube, endpoint=endpoint, deployment=deployment) if there else 0
        op.params["routing"] = {
            "generation": generation,
            "absent": deployment is None,
            "at": now.isoformat(),
            "step": "router",
            "nothing": not there,
        }
        op.save(update_fields=["params"])
    if op.params["routing"].get("nothing"):
        finish_step(op, "router", detail="No router knew it.")
        return
    try:
        require_in_force(op, endpoint=endpoint, now=now)
    except RolloutError as error:
        say(op, f"{error.cause.text} Deleting all the same.", level="warn")
        finish_step(op, "router", detail="No router confirmed it.")
    else:
        finish_step(op, "router", detail="Every router has forgotten it.")


def _forget(kube: Kube, *, endpoint: Endpoint, deployment: Deployment | None) -> int:
    if deployment is None:
        kube.delete(ONLINE_ENDPOINTS, endpoint.name, endpoint.target.namespace)
        return 0
    set_applied(deployment, revision=0)
    return apply_endpoint(kube, endpoint=endpoint)


def _delete(op: Operation, kube: Kube, *, endpoint: Endpoint, deployment: str) -> None:
    namespace = endpoint.target.namespace
    begin_step(op, "objects")
    delete_objects(kube, namespace=namespace, endpoint=endpoint.name, deployment=deployment)
    finish_step(op, "objects")
    begin_step(op, "gone")
    left = what_is_left(kube, namespace=namespace, endpoint=endpoint.name, deployment=deployment)
    if left:
        update_step(op, "gone", detail=f"Still there: {', '.join(left[:4])}{' and more' if len(left) > 4 else ''}.")
        set_summary(op, "Replicas finish their requests, then they go.")
        raise NotYetError("Objects are still there.", seconds=_LOOK_AGAIN)
    finish_step(op, "gone", detail="Nothing is left.")
