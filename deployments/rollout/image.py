"""The image of an environment on a cluster: found by its hash, waited for, or built.

    no row, or failed, or its builder is gone --take--> Building (operation = me) --> Ready
                                                           |   pod failed ---------> Failed
    Building by another unfinished Operation: wait for that one, it wakes us

The row is the claim: taking it is one conditional UPDATE, so of many rollouts one builds.
"""

from datetime import datetime, timedelta

from django.db.models import Q

from clusters.identity import studio_uuid
from clusters.install import manifests
from clusters.kube.client import Kube
from clusters.kube.errors import Conflict, KubeError
from clusters.kube.kinds import CONFIG_MAPS, NAMESPACES, PODS, Obj
from clusters.models import Cluster
from deployments.manifests import BuildShape, build_name, build_pod, image_reference
from deployments.models import BuildState, EnvironmentImage
from deployments.models import Environment as EnvironmentRow
from deployments.rollout.errors import NotYetError, RolloutError
from deployments.specs import normalise_definition
from deployments.specs.environment import SCORING_SERVER_REQUIREMENT
from deployments.status import StatusCause, WayOut, causes
from deployments.status.server_log import last_line
from routerd.contract import BUILDS_NAMESPACE
from studio.models import UNFINISHED, Operation
from studio.services.operations import finish_step, say, set_summary, update_step, wake

_STEP = "image"
LONGEST_BUILD = timedelta(minutes=30)
_TOO_LONG = f"It was not built after {LONGEST_BUILD.seconds // 60} minutes."
_LOOK_AGAIN = 15.0  # seconds, in case no watcher tells


def ensure_image(
    op: Operation, *, kube: Kube, cluster: Cluster, namespace: str, environment: EnvironmentRow, now: datetime
) -> None:
    """Returns once the image is there. Raises NotYetError while it is built, RolloutError when it cannot be."""
    if environment.image:
        finish_step(op, _STEP, detail=f"{environment.image}, as it is.")
        return
    row, _ = EnvironmentImage.objects.get_or_create(
        cluster=cluster,
        definition_hash=environment.definition_hash,
        defaults={"reference": image_reference(environment.definition_hash), "state": BuildState.BUILDING},
    )
    if row.state == BuildState.READY:
        built = "Built." if row.operation_id == op.pk else "Found by its hash; nothing to build."
        finish_step(op, _STEP, detail=built)
        return
    if row.operation_id != op.pk and not _take(row, op=op, now=now):
        _wait_for_other(row, op=op)
    _build(op, kube=kube, namespace=namespace, row=row, environment=environment, now=now)


def _take(row: EnvironmentImage, *, op: Operation, now: datetime) -> bool:
    """Become the builder, unless an unfinished Operation is."""
    abandoned = Q(operation=None) | ~Q(operation__state__in=UNFINISHED)
    free = EnvironmentImage.objects.filter(Q(state=BuildState.FAILED) | abandoned, pk=row.pk)
    ids = list(free.exclude(state=BuildState.READY).values_list("pk", "operation_id"))
    if not ids:
        return False
    taken = EnvironmentImage.objects.filter(pk=row.pk, operation_id=ids[0][1]).update(
        operation=op, state=BuildState.BUILDING, started_at=now, finished_at=None, cause=""
    )
    row.refresh_from_db()
    return bool(taken)


def _wait_for_other(row: EnvironmentImage, *, op: Operation) -> None:
    row.refresh_from_db()
    other = row.operation
    if row.state == BuildState.READY or other is None:
        raise NotYetError("The environment's image changed hands.", seconds=0)
    update_step(op, _STEP, detail=f"Being built already, by: {other.title}.")
    set_summary(op, "Waiting for the environment, which another rollout is building.")
    raise NotYetError("Another rollout is building this environment.", seconds=_LOOK_AGAIN)


def _build(
    op: Operation, *, kube: Kube, namespace: str, row: EnvironmentImage, environment: EnvironmentRow, now: datetime
) -> None:
    attempt = str(op.pk)[:8]
    name = build_name(row.definition_hash, attempt=attempt)
    pod = kube.find(PODS, name, BUILDS_NAMESPACE)
    if pod is None:
        _begin(op, kube=kube, target=namespace, environment=environment, attempt=attempt)
    phase = (pod or {}).get("status", {}).get("phase", "")
    if pod is not None and phase not in ("Succeeded", "Failed") and now - row.started_at > LONGEST_BUILD:
        _write_result(op, row=row, failed=True, tail="took too long", now=now)
        _remove(kube, name=name)
        raise RolloutError(build_failed(str(environment), tail=_TOO_LONG), step=_STEP)
    if pod is None or phase not in ("Succeeded", "Failed"):
        if held := _held_up(pod or {}):
            update_step(op, _STEP, detail=f"The build has not begun. {held}")
        set_summary(op, f"Building the environment {environment}. Callers notice nothing.")
        raise NotYetError("The environment is being built.", seconds=_LOOK_AGAIN)
    tail = _log_tail(kube, name) or _ended_message(pod)
    _write_result(op, row=row, failed=phase == "Failed", tail=tail, now=now)
    _remove(kube, name=name)
    if phase == "Failed":
        raise RolloutError(build_failed(str(environment), tail=tail), step=_STEP)
    finish_step(op, _STEP, detail=last_line(tail)[:300] or "Built.")


def _begin(op: Operation, *, kube: Kube, target: str, environment: EnvironmentRow, attempt: str) -> None:
    definition = normalise_definition(environment.requirements, python_version=environment.python_version)
    say(op, f"no image has hash {definition.hash[:12]} on this cluster: building {environment}", source="build")
    if definition.server_added:
        say(op, f"{environment} names no scoring server: added {SCORING_SERVER_REQUIREMENT}", source="build")
    shape = BuildShape(
        studio=studio_uuid(),
        target=target,
        hash=environment.definition_hash,
        requirements=definition.requirements,
        python_version=environment.python_version,
        attempt=attempt,
    )
    config, pod = build_pod(shape)
    _ensure_namespace(kube)
    kube.apply(config)
    try:
        kube.create(pod)
    except Conflict:
        return  # made a moment ago, by a run of this task that was ended
    update_step(op, _STEP, detail=f"Building {environment}, {len(definition.lines)} requirements.")


def _ensure_namespace(kube: Kube) -> None:
    """Where builds run: it may hold pods that write to the node's image store."""
    if kube.find(NAMESPACES, BUILDS_NAMESPACE) is not None:
        return
    try:
        kube.create(manifests.namespace(BUILDS_NAMESPACE, studio=studio_uuid(), level="privileged"))
    except Conflict:
        return  # made by another rollout, a moment ago


def _held_up(pod: Obj) -> str:
    """Why a build pod does not run yet; "" when nothing is said about it."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or "")
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""


def _write_result(op: Operation, *, row: EnvironmentImage, failed: bool, tail: str, now: datetime) -> None:
    state = BuildState.FAILED if failed else BuildState.READY
    EnvironmentImage.objects.filter(pk=row.pk).update(
        state=state, finished_at=now, cause=last_line(tail) if failed else ""
    )
    _wake_others(op)


def _remove(kube: Kube, *, name: str) -> None:
    kube.delete(PODS, name, BUILDS_NAMESPACE)
    kube.delete(CONFIG_MAPS, name, BUILDS_NAMESPACE)


def stop_build(op: Operation, *, kube: Kube) -> None:
    """Forget what this Operation was building."""
    for row in EnvironmentImage.objects.filter(operation=op, state=BuildState.BUILDING):
        _remove(kube, name=build_name(row.definition_hash, attempt=str(op.pk)[:8]))
        EnvironmentImage.objects.filter(pk=row.pk, state=BuildState.BUILDING).delete()
        _wake_others(op)


def _wake_others(op: Operation) -> None:
    for waiting in Operation.objects.filter(kind="deploy", state__in=UNFINISHED).exclude(pk=op.pk):
        wake(waiting.pk)


def _log_tail(kube: Kube, name: str) -> str:
    try:
        path = f"{PODS.path(name, namespace=BUILDS_NAMESPACE)}/log?tailLines=40"
        return kube.read_text(path, subject=f"Log of {name}")
    except KubeError:
        return ""  # the pod's own message is the second best


def _ended_message(pod: Obj) -> str:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        return str(ended.get("message") or ended.get("reason") or "")
    return str((pod.get("status") or {}).get("message") or "")


def build_failed(environment: str, *, tail: str) -> StatusCause:
    """The build pod ended with an error."""
    return StatusCause(
        name=causes.BUILD,
        text=f"The environment {environment} could not be built.",
        proof=last_line(tail),
        fixes=(
            WayOut("Register the environment again with requirements that fit together, and deploy that version."),
            WayOut("Try the requirements at your desk first.", command="uv pip compile requirements.txt"),
        ),
    )
