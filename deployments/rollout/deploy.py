"""Rolling out one revision, one look at a time.

    Image -> Artifacts -> Apply | Schedule -> Fetch model -> Pull image -> init() -> Probes | Traffic
    done by this task            | seen by the watcher, which wakes the Operation           | seen by the sampler

Every call looks at what is so, does what can be done now, and returns. What has to be remembered between two looks is
in the Operation's params: `applying` and `applied` (some, then all objects are in the cluster), `give_up_at` (20
minutes after the image was there), `ending` (how it failed, while what was before is being put back) and `routing`
(what routers have to report).

A rollout that fails or is cancelled is put back: to the last revision that worked, or, when there is none, to nothing,
so that no replica crashes for ever. Callers do not notice: no replica of the old revision goes before a new one is
ready.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from clusters.connections import kube_for
from clusters.kube.errors import Forbidden, Invalid, KubeError
from deployments.models import Deployment, DeploymentRevision, Endpoint
from deployments.queries.desired import (
    placement_of,
    wanted_revision,
)
from deployments.rollout.about import Rollout, mark_revision, touch
from deployments.rollout.apply import apply_endpoint, apply_revision, set_applied
from deployments.rollout.artifacts import push_artifact
from deployments.rollout.ending import end_rollout, end_safely, wait_for_cluster
from deployments.rollout.errors import NotYetError, RolloutError, cause_of
from deployments.rollout.image import ensure_image
from deployments.rollout.progress import follow_progress
from deployments.rollout.routers import require_in_force
from deployments.status import StatusCause, WayOut, causes, status_from_json
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
    succeed,
    update_step,
)

DEADLINE: Final = timedelta(minutes=20)


def advance_deploy(op: Operation, *, now: datetime) -> None:
    """Look, do what can be done, return. Called with the Operation claimed."""
    rollout = _load(op, now=now)
    if rollout is None:
        cancel(op, summary="The deployment was deleted meanwhile.")
        return
    try:
        if op.cancel_requested or "ending" in op.params:
            end_rollout(rollout)
        else:
            _go_on(rollout)
    except NotYetError as later:
        _look_again(op, at=now + timedelta(seconds=later.seconds))
    except RolloutError as failed:
        if failed.step == "traffic":
            _fail_at_router(rollout, failed)
            return
        op.params["ending"] = failed.cause.to_json() | {"step": failed.step}
        op.save(update_fields=["params"])
        end_safely(rollout)
    except (Invalid, Forbidden) as error:
        cause = causes.refused_by_cluster(message=error.cause, since="")
        op.params["ending"] = cause.to_json() | {"step": "apply"}
        op.save(update_fields=["params"])
        end_safely(rollout)
    except KubeError as error:
        wait_for_cluster(rollout, error)


def _load(op: Operation, *, now: datetime) -> Rollout | None:
    rows = Deployment.objects.select_related("endpoint__target__cluster", "endpoint__workspace", "environment")
    deployment = rows.filter(pk=op.params["deployment"]).first()
    if deployment is None:
        return None
    target = deployment.endpoint.target
    return Rollout(
        op=op,
        deployment=deployment,
        wanted=wanted_revision(deployment, number=op.params["revision"]),
        kube=kube_for(target.cluster),
        namespace=target.namespace,
        now=now,
    )


def _look_again(op: Operation, *, at: datetime) -> None:
    give_up = op.params.get("give_up_at")
    set_deadline(op, min(at, datetime.fromisoformat(give_up)) if give_up else at)


def _go_on(rollout: Rollout) -> None:
    op = rollout.op
    if not op.params.get("applied"):
        _ensure_image(rollout)
        _push_artifacts(rollout)
        _apply(rollout)
    if not op.params.get("ready"):
        _follow(rollout)
    _route(rollout)


def _ensure_image(rollout: Rollout) -> None:
    begin_step(rollout.op, "image")
    ensure_image(
        rollout.op,
        kube=rollout.kube,
        cluster=rollout.endpoint.target.cluster,
        namespace=rollout.namespace,
        environment=rollout.wanted.environment,
        now=rollout.now,
    )
    if "give_up_at" not in rollout.op.params:  # the 20 minutes begin when the environment is built
        rollout.op.params["give_up_at"] = (rollout.now + DEADLINE).isoformat()
        rollout.op.save(update_fields=["params"])


def _push_artifacts(rollout: Rollout) -> None:
    op, wanted = rollout.op, rollout.wanted
    begin_step(op, "artifacts")
    set_summary(op, "Bringing model and code to the cluster. Callers notice nothing.")
    artifacts = [(rollout.deployment.code, "code")]
    if wanted.model:
        artifacts.append((wanted.model.artifact, str(wanted.model)))
    pushed = [
        name
        for artifact, name in artifacts
        if artifact
        and push_artifact(op, kube=rollout.kube, cluster=rollout.endpoint.target.cluster, artifact=artifact, name=name)
    ]
    if pushed:
        finish_step(op, "artifacts", detail=f"Pushed {' and '.join(pushed)}.")
    else:
        finish_step(op, "artifacts", detail="In the cluster already, by their SHA-256.")


def _apply(rollout: Rollout) -> None:
    op, deployment = rollout.op, rollout.deployment
    begin_step(op, "apply")
    placement = placement_of(deployment, wanted=rollout.wanted)
    op.params["applying"] = True
    op.save(update_fields=["params"])
    apply_revision(rollout.kube, wanted=rollout.wanted, placement=placement)
    set_applied(deployment, revision=rollout.wanted.number)
    apply_endpoint(rollout.kube, endpoint=rollout.endpoint)
    op.params["applied"] = True
    op.save(update_fields=["params"])
    finish_step(op, "apply", detail=f"Revision {rollout.wanted.number}, in {rollout.namespace}.")
    begin_step(op, "schedule")
    say(op, f"applied revision {rollout.wanted.number} to {rollout.namespace}")
    notify(f"deployment-{deployment.pk}")


def _follow(rollout: Rollout) -> None:
    """Read what the watcher saw. Returns when all replicas are ready; raises NotYetError or RolloutError."""
    op, deployment = rollout.op, rollout.deployment
    status = status_from_json(deployment.observed)
    _look_again(op, at=rollout.now + DEADLINE)
    if status is not None and status.revision == rollout.wanted.number and status.settled:
        follow_progress(op, status=status, now=rollout.now)
        if status.complete:
            op.params["ready"] = True
            op.save(update_fields=["params"])
            return
    if rollout.now >= datetime.fromisoformat(op.params["give_up_at"]):
        told = status.sentence if status else "The cluster did not report anything of it."
        known = status.cause if status else None
        raise RolloutError(known or _too_late(told), step=_running_step(op))
    raise NotYetError("Replicas are starting.", seconds=DEADLINE.total_seconds())


def _running_step(op: Operation) -> str:
    names: list[str] = list(op.steps.filter(state="running").values_list("name", flat=True))
    return names[0] if names else "probes"


def _too_late(told: str) -> StatusCause:
    return StatusCause(
        name=causes.NOT_READY,
        text=f"The replicas were not ready after {DEADLINE.seconds // 60} minutes. {told}",
        fixes=(
            WayOut("Look at the log below: the last line says what init() was doing."),
            WayOut("If init() needs longer, load less in it or choose a larger instance type."),
        ),
    )


def _route(rollout: Rollout) -> None:
    op, name = rollout.op, rollout.deployment.name
    begin_step(op, "traffic")
    if "routing" not in op.params:
        first = _take_first_traffic(rollout.endpoint, name=name)
        generation = apply_endpoint(rollout.kube, endpoint=rollout.endpoint)
        op.params["routing"] = {"generation": generation, "at": rollout.now.isoformat(), "first": first}
        op.save(update_fields=["params"])
        update_step(op, "traffic", detail="Waiting for every router to know it.")
    require_in_force(op, endpoint=rollout.endpoint, now=rollout.now)
    rollout.endpoint.refresh_from_db(fields=["traffic"])
    share = rollout.endpoint.traffic.get(name, 0)
    shares = f"{share} % of the calls." if share else "No traffic until you move it."
    finish_step(op, "traffic", detail=shares)
    mark_revision(rollout, succeeded=True)
    answers = f"{name} answers {share} % of the calls." if share else f"{name} gets no traffic until you move it."
    succeed(op, summary=f"Revision {rollout.wanted.number} is ready. {answers}")
    touch(rollout.deployment)


def _fail_at_router(rollout: Rollout, failed: RolloutError) -> None:
    """The replicas are well and stay; only the routers have not confirmed. Nothing is put back for that."""
    mark_revision(rollout, succeeded=True)
    fail(rollout.op, cause=cause_of(failed.cause), step=failed.step)
    touch(rollout.deployment)


def _take_first_traffic(endpoint: Endpoint, *, name: str) -> bool:
    """The first deployment of an endpoint gets everything: there is nobody else callers could want."""
    with transaction.atomic():
        row = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        others = Deployment.objects.filter(endpoint=row, revisions__succeeded=True).exclude(name=name).exists()
        proven = DeploymentRevision.objects.filter(deployment__endpoint=row, deployment__name=name, succeeded=True)
        if row.traffic or others or proven.exists():
            return False
        Endpoint.objects.filter(pk=row.pk).update(traffic={name: 100})
    notify(f"endpoint-{endpoint.pk}")
    return True
