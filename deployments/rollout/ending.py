"""A rollout that fails or is cancelled: put back what was before, then say how it ended.

What was before is the last revision that worked; when there is none it is nothing, and what was started is deleted.
Both are level-triggered like the rest: an end that the cluster interrupted is done again until it is whole.
"""

from datetime import datetime, timedelta
from typing import Final

from clusters.kube.errors import KubeError, Unauthorized
from deployments.models import Endpoint
from deployments.queries.desired import last_good_revision, placement_of, wanted_revision
from deployments.rollout.about import Rollout, mark_revision, touch
from deployments.rollout.apply import apply_endpoint, apply_revision, set_applied
from deployments.rollout.errors import cause_of
from deployments.rollout.image import stop_build
from deployments.rollout.remove import delete_objects
from deployments.status import StatusCause, WayOut, cause_from_json
from studio.services.operations import cancel, fail, say, set_deadline, set_summary, update_step

_AFTER_TROUBLE: Final = 5.0  # seconds until the next look when the cluster does not answer
_NOTHING_HAPPENED: Final = timedelta(minutes=20)  # without an answer of the cluster


def end_safely(rollout: Rollout) -> None:
    """End now, or when the cluster answers again."""
    try:
        end_rollout(rollout)
    except KubeError as error:
        wait_for_cluster(rollout, error)


def end_rollout(rollout: Rollout) -> None:
    """Put back what was before, then end as failed or cancelled."""
    op = rollout.op
    stop_build(op, kube=rollout.kube)
    after = _put_back(rollout)
    mark_revision(rollout, succeeded=False)
    ending = op.params.get("ending")
    if ending is None:
        cancel(op, summary=f"Cancelled. {after}")
    else:
        step = ending["step"]
        cause = cause_from_json({key: value for key, value in ending.items() if key != "step"})
        if cause is not None:
            update_step(op, step, detail=cause.proof or cause.text)
            fail(op, cause=cause_of(cause), step=step, summary=f"{cause.text} {after}")
    touch(rollout.deployment)


def _put_back(rollout: Rollout) -> str:
    """Make the cluster hold what it held before this rollout; the sentence that says so."""
    op, deployment = rollout.op, rollout.deployment
    name = deployment.name
    good = last_good_revision(deployment, before=rollout.wanted.number)
    if not op.params.get("applying"):
        return f"Nothing in the cluster was changed{f'; revision {good} answers' if good else ''}."
    if good:
        wanted = wanted_revision(deployment, number=good)
        apply_revision(rollout.kube, wanted=wanted, placement=placement_of(deployment, wanted=wanted))
        set_applied(deployment, revision=good)
        apply_endpoint(rollout.kube, endpoint=rollout.endpoint)
        say(op, f"put {name} back to revision {good}")
        return f"Callers are not affected; revision {good} of {name} answers."
    if op.params.get("routing", {}).get("first"):
        Endpoint.objects.filter(pk=rollout.endpoint.pk).update(traffic={})
    set_applied(deployment, revision=0)
    apply_endpoint(rollout.kube, endpoint=rollout.endpoint)
    delete_objects(rollout.kube, namespace=rollout.namespace, endpoint=rollout.endpoint.name, deployment=name)
    say(op, f"no revision of {name} has worked yet: deleted what was started")
    others = sorted(set(rollout.endpoint.traffic) - {name})
    if others:
        return f"Callers are not affected; {' and '.join(others)} answer{'s' if len(others) == 1 else ''} them all."
    return f"Nothing of {name} runs now."


def wait_for_cluster(rollout: Rollout, error: KubeError) -> None:
    """The cluster does not answer: look again soon; give up when nothing was changed there for long."""
    op = rollout.op
    untouched = not op.params.get("applying")
    if untouched and rollout.now - _last_progress(rollout) > _NOTHING_HAPPENED:
        mark_revision(rollout, succeeded=False)
        fail(op, cause=cause_of(_not_reachable(error)), summary=f"{error} Nothing in the cluster was changed.")
        touch(rollout.deployment)
        return
    if _say_once(rollout, error):
        say(op, str(error), level="warn")
    set_deadline(op, rollout.now + timedelta(seconds=_AFTER_TROUBLE))


def _last_progress(rollout: Rollout) -> datetime:
    """When a step of the rollout last began or ended."""
    steps = rollout.op.steps.all()
    times = [time for step in steps for time in (step.started_at, step.finished_at) if time]
    return max([rollout.op.created_at, *times])


def _say_once(rollout: Rollout, error: KubeError) -> bool:
    """Say what is waited for; False when that was said before."""
    sentence = f"Waiting for the cluster. {error}"[:500]
    said = rollout.op.summary == sentence
    set_summary(rollout.op, sentence)
    return not said


def _not_reachable(error: KubeError) -> StatusCause:
    name = "ClusterUnauthorized" if isinstance(error, Unauthorized) else "ClusterNotReachable"
    return StatusCause(
        name=name,
        text="The cluster did not take the rollout.",
        proof=str(error),
        fixes=(WayOut(error.next_step), WayOut("Then deploy again.")),
    )
