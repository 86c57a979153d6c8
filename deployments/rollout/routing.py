"""Traffic and keys: apply the OnlineEndpoint, then wait until every router has it in force, usually under a second."""

from datetime import datetime, timedelta

from clusters.connections import kube_for
from clusters.kube.errors import Invalid, KubeError
from clusters.kube.kinds import ONLINE_ENDPOINTS
from deployments.models import Endpoint
from deployments.rollout.apply import apply_endpoint
from deployments.rollout.errors import NotYetError, RolloutError, cause_of
from deployments.rollout.routers import require_in_force
from deployments.status import causes
from studio.live import notify
from studio.models import Operation
from studio.services.operations import (
    begin_step,
    cancel,
    fail,
    finish_step,
    say,
    set_deadline,
    set_summary,
    skip_step,
    succeed,
)

_AFTER_TROUBLE = 5.0


def advance_routing(op: Operation, *, now: datetime) -> None:
    """Look, do what can be done, return. Called with the Operation claimed."""
    rows = Endpoint.objects.select_related("target__cluster", "workspace")
    endpoint = rows.filter(pk=op.params["endpoint"]).first()
    if endpoint is None or endpoint.deleting:
        cancel(op, summary="The endpoint was deleted meanwhile.")
        return
    try:
        if "routing" not in op.params:
            _apply(op, endpoint=endpoint, now=now)
        if not op.finished:
            _await(op, endpoint=endpoint, now=now)
    except NotYetError as later:
        set_deadline(op, now + timedelta(seconds=later.seconds))
    except RolloutError as failed:
        fail(op, cause=cause_of(failed.cause), step=failed.step)
    except Invalid as error:
        fail(op, cause=cause_of(causes.refused_by_cluster(message=error.cause, since="")), step="apply")
    except KubeError as error:
        set_summary(op, f"Waiting for the cluster. {error}")
        say(op, str(error), level="warn")
        set_deadline(op, now + timedelta(seconds=_AFTER_TROUBLE))


def _apply(op: Operation, *, endpoint: Endpoint, now: datetime) -> None:
    begin_step(op, "apply")
    kube = kube_for(endpoint.target.cluster)
    runs = endpoint.deployments.filter(applied_revision__gt=0).exists()
    if not runs and kube.find(ONLINE_ENDPOINTS, endpoint.name, endpoint.target.namespace) is None:
        finish_step(op, "apply", detail="Nothing of this endpoint is in the cluster yet.")
        skip_step(op, "routers", detail="It counts from the first deployment on.")
        succeed(op, summary="Written down. It counts from the first deployment on.")
        return
    generation = apply_endpoint(kube, endpoint=endpoint)
    op.params["routing"] = {
        "generation": generation,
        "key_revision": op.params.get("key_revision", 0),
        "at": now.isoformat(),
        "step": "routers",
    }
    op.save(update_fields=["params"])
    finish_step(op, "apply", detail=f"Generation {generation} of OnlineEndpoint {endpoint.name}.")


def _await(op: Operation, *, endpoint: Endpoint, now: datetime) -> None:
    begin_step(op, "routers")
    pods = require_in_force(op, endpoint=endpoint, now=now)
    where = "the router" if pods == 1 else f"all {pods} routers"
    finish_step(op, "routers", detail=f"On {where}.")
    if key := op.params.get("key"):
        succeed(op, summary=f"The new {key} key is in force on {where}; the old one is refused.")
    else:
        succeed(op, summary=f"In force on {where}.")
    notify(f"endpoint-{endpoint.pk}")
