"""Installing and removing the router: looks until everything is there, returning in between.

A look that finds something still on its way ends the task; it comes again after a moment, by the queue, and by the beat
where the queue forgot.
"""

import secrets
from datetime import datetime, timedelta

from celery import shared_task
from django.utils import timezone

from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.install.manifests import Secrets
from clusters.install.progress import DEADLINE, Done, Going, Stuck, Verdict
from clusters.install.remove import REMOVALS
from clusters.install.run import LOOKS, SYSTEM, Look, Plan, StepClock
from clusters.install.settings import from_json
from clusters.install.tokens import read_tokens
from clusters.kube.client import Kube
from clusters.kube.errors import KubeError, Unreachable
from clusters.kube.kinds import PODS
from clusters.models import Cluster, RouterState
from clusters.queries import namespaces_of, size_of
from clusters.recorder import UNINSTALL, has_tokens, keep_address, keep_tokens, set_router_state
from clusters.tasks.causes import cause_of, cause_of_stuck
from clusters.tasks.check import check_now
from studio.models import Operation, OperationStep, StepState
from studio.services.operations import (
    begin_step,
    cancel,
    claimed,
    fail,
    finish_step,
    say,
    set_deadline,
    set_summary,
    succeed,
    update_step,
)

AGAIN = 0.5  # seconds until the next look
ALLOWED = DEADLINE + timedelta(minutes=1)  # then the beat looks, should the queue have forgotten


@shared_task(name="clusters.tasks.install.advance")
def advance(operation_id: str) -> None:
    """One look."""
    going = False
    with claimed(operation_id) as op:
        if op is None:
            return
        cluster = Cluster.objects.filter(pk=op.params["cluster"]).first()
        if cluster is None:
            cancel(op, summary="The cluster was detached meanwhile.")
        elif op.cancel_requested:
            _cancel(op, cluster)
        else:
            going = _look(op, cluster)
    if going:
        advance.apply_async(args=[operation_id], countdown=AGAIN)


def _look(op: Operation, cluster: Cluster) -> bool:
    """Whether to come again."""
    removing = op.kind == UNINSTALL
    kube = kube_for(cluster)
    try:
        plan = _plan(cluster, kube)
        for name, look in REMOVALS if removing else LOOKS:
            verdict = _step(op, name, look, kube=kube, plan=plan)
            if isinstance(verdict, Going):
                return _come_again(op, verdict)
            if isinstance(verdict, Stuck):
                return _fail(op, cluster, verdict, kube=kube)
            if verdict.address:
                keep_address(cluster, verdict.address)
    except Unreachable as error:
        if timezone.now() - (op.started_at or op.created_at) < DEADLINE:
            return _come_again(op, Going(f"The cluster does not answer now: {error.cause}."))
        return _fail(op, cluster, error, kube=kube)
    except KubeError as error:
        return _fail(op, cluster, error, kube=kube)
    _finish(op, cluster, removing=removing)
    return False


def _plan(cluster: Cluster, kube: Kube) -> Plan:
    return Plan(
        settings=from_json(cluster.router_settings),
        secrets=_secrets(cluster, kube),
        studio=studio_uuid(),
        runtime=cluster.runtime,
        targets=tuple(namespaces_of(cluster.uid)),
        sizes=tuple(size_of(row) for row in cluster.instance_types.all()),
    )


def _secrets(cluster: Cluster, kube: Kube) -> Secrets:
    """The row's, else those of an installation of ours that is there, else new ones; kept before they are used."""
    if not has_tokens(cluster):
        found = read_tokens(kube, studio=studio_uuid()) or Secrets(
            admin_token=secrets.token_urlsafe(32),
            upload_token=secrets.token_urlsafe(32),
            signing_key=secrets.token_urlsafe(32),
        )
        keep_tokens(cluster, found)
    return Secrets(
        admin_token=cluster.admin_token,
        upload_token=cluster.artifacts_upload_token,
        signing_key=cluster.artifacts_signing_key,
    )


def _step(op: Operation, name: str, look: Look, *, kube: Kube, plan: Plan) -> Verdict:
    step = op.steps.get(name=name)
    if step.state == StepState.SUCCEEDED:
        return Done(step.detail)
    begin_step(op, name)
    verdict = look(kube, plan, StepClock(now=timezone.now(), begun=_begun(step)))
    if isinstance(verdict, Done):
        finish_step(op, name, detail=verdict.text)
        say(op, f"{step.title}: {verdict.text}")
    else:
        update_step(op, name, detail=verdict.text)
    return verdict


def _begun(step: OperationStep) -> datetime | None:
    """A running step with a detail was looked at before: its objects are applied."""
    return step.started_at if step.state == StepState.RUNNING and step.detail else None


def _come_again(op: Operation, verdict: Going) -> bool:
    if op.summary != verdict.text:
        say(op, verdict.text)
    set_summary(op, verdict.text)
    if op.deadline_at is None:
        set_deadline(op, (op.started_at or op.created_at) + ALLOWED)
    return True


def _fail(op: Operation, cluster: Cluster, why: Stuck | KubeError, *, kube: Kube) -> bool:
    if isinstance(why, Stuck):
        cause = cause_of_stuck(why, log=_last_lines(kube, why.logs_of) if why.logs_of else "")
    else:
        cause = cause_of(why)
    say(op, cause.text, level="error")
    state = RouterState.FAILED if op.kind != UNINSTALL else RouterState.DEGRADED
    set_router_state(cluster, state, text=cause.text)
    fail(op, cause=cause)
    return False


def _last_lines(kube: Kube, pod: str) -> str:
    """The end of a pod's log, of its last run where the present one has said nothing; "" when there is none."""
    for query in ("previous=true&tailLines=15", "tailLines=15"):
        try:
            text = kube.read_text(f"{PODS.path(pod, namespace=SYSTEM)}/log?{query}", subject=f"Log of {pod}")
        except KubeError:
            continue
        if text.strip():
            return text.strip()
    return ""


def _cancel(op: Operation, cluster: Cluster) -> None:
    set_router_state(cluster, RouterState.DEGRADED, text="Installing was cancelled; what was made so far is there.")
    cancel(op, summary="Cancelled. What was made so far stays until you install again or uninstall.")
    check_now(cluster)


def _finish(op: Operation, cluster: Cluster, *, removing: bool) -> None:
    if removing:
        Cluster.objects.filter(uid=cluster.uid).update(
            router_settings={}, admin_token="", artifacts_upload_token="", artifacts_signing_key=""
        )
        set_router_state(cluster, RouterState.ABSENT)
        succeed(op, summary=f"The router is gone from {cluster}. {op.steps.get(name='namespace').detail}")
    else:
        set_router_state(cluster, RouterState.READY)
        cluster.refresh_from_db()
        succeed(op, summary=f"The router of {cluster} is ready. Callers reach it at {cluster.router_address}.")
    cluster.refresh_from_db()
    check_now(cluster)
