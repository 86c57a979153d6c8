"""How far an installation is, from what lies in the cluster. Pure: objects and `now` in, one verdict out.

    Done       ready; `text` says what is there
    Going      still on its way; `text` says what it waits for
    Stuck      it will not get there by itself; one named cause with its proof

Something that looks wrong is given a little time first: images are pulled again, a scheduler finds room a second later,
a port becomes free. Only after `patience` does Going become Stuck.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from clusters.kube.kinds import Obj
from routerd import contract

PATIENCE = timedelta(seconds=45)
MINUTES = 5
DEADLINE = timedelta(minutes=MINUTES)
MANY_RESTARTS = 3
_PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@dataclass(frozen=True)
class Done:
    text: str
    address: str = ""


@dataclass(frozen=True)
class Going:
    text: str


@dataclass(frozen=True)
class Stuck:
    """`name` as users know it; `fixes` sentences, the surest first; `logs_of` a container whose log may prove it."""

    name: str
    text: str
    proof: str = ""
    fixes: tuple[str, ...] = ()
    logs_of: str = ""  # pod name


Verdict = Done | Going | Stuck


@dataclass(frozen=True)
class WorkloadFacts:
    """What was read about one workload of ours."""

    workload: Obj | None
    replica_sets: Sequence[Obj] = ()
    pods: Sequence[Obj] = ()
    events: Sequence[Obj] = field(default_factory=tuple)


def defined(crd: Obj | None) -> bool:
    """Whether a CustomResourceDefinition is served."""
    conditions = ((crd or {}).get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


# --- Workloads ----------------------------------------------------------------------------------


def judge_workload(facts: WorkloadFacts, *, title: str, now: datetime, since: datetime) -> Verdict:
    """Where a workload is; `since` is when it was asked for."""
    if facts.workload is None:
        return Going(f"{title} is being made.")
    spec, status = facts.workload.get("spec") or {}, facts.workload.get("status") or {}
    wanted = int(spec.get("replicas") or 0)
    observed = int(status.get("observedGeneration") or 0) >= int(facts.workload["metadata"].get("generation") or 0)
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    total = int(status.get("replicas") or 0)
    if observed and ready >= wanted and updated >= wanted and total <= wanted:
        return Done(f"{ready} of {wanted} ready.")
    trouble = _trouble(facts, title=title)
    if trouble and (now - since > PATIENCE or trouble.name == "DeploymentCrashLoopBackOff"):
        return trouble
    if now - since > DEADLINE:
        return trouble or Stuck(
            name="ResourceNotReady",
            text=f"{title} is not ready after {MINUTES} minutes: {ready} of {wanted} pods are.",
            proof=_newest_events(facts.events),
            fixes=("Look at the pods in slipway-system, mend what they name, then install again.",),
            logs_of=_any_pod(facts.pods),
        )
    return Going(trouble.text if trouble else _waiting(facts.pods, ready=ready, wanted=wanted))


def _waiting(pods: Sequence[Obj], *, ready: int, wanted: int) -> str:
    if not pods:
        return f"0 of {wanted} ready; no pod yet."
    return f"{ready} of {wanted} ready; {_phase(pods[-1])}."


def _phase(pod: Obj) -> str:
    for status in _container_statuses(pod):
        reason = ((status.get("state") or {}).get("waiting") or {}).get("reason")
        if reason:
            return f"the newest pod is at {reason}"
    phase = (pod.get("status") or {}).get("phase") or "Pending"
    return f"the newest pod is {phase.lower()}"


def _trouble(facts: WorkloadFacts, *, title: str) -> Stuck | None:
    for pod in facts.pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        found = _image_trouble(pod, title=title) or _crash(pod, title=title) or _unplaced(pod, title=title)
        if found:
            return found
    return _refused_pods(facts, title=title)


def _container_statuses(pod: Obj) -> Iterable[Obj]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _image_trouble(pod: Obj, *, title: str) -> Stuck | None:
    for status in _container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _PULL_REASONS:
            return Stuck(
                name="ImagePullLoopBackOff",
                text=f"{title} cannot start: its image {status.get('image')} cannot be pulled.",
                proof=str(waiting.get("message") or waiting.get("reason")),
                fixes=(
                    "Push the image to a registry the nodes reach, or name another one, then install again.",
                    "If the registry asks for a sign-in, name a pull secret in the router's settings.",
                ),
            )
    return None


def _crash(pod: Obj, *, title: str) -> Stuck | None:
    for status in _container_statuses(pod):
        ended = (status.get("lastState") or {}).get("terminated") or {}
        if int(status.get("restartCount") or 0) >= MANY_RESTARTS and not status.get("ready") and ended:
            reason = ended.get("reason") or f"exit code {ended.get('exitCode')}"
            name = "PodOutOfMemory" if reason == "OOMKilled" else "DeploymentCrashLoopBackOff"
            return Stuck(
                name=name,
                text=f"{title} starts and ends again: {status['restartCount']} times so far ({reason}).",
                proof=str(ended.get("message") or ""),
                fixes=("Read the last lines of its log below; mend what they name, then install again.",),
                logs_of=pod["metadata"]["name"],
            )
    return None


def _unplaced(pod: Obj, *, title: str) -> Stuck | None:
    conditions = (pod.get("status") or {}).get("conditions") or []
    for each in conditions:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return Stuck(
                name="PodUnschedulable",
                text=f"No node has room for {title}.",
                proof=str(each.get("message") or ""),
                fixes=("Make room on a node or add one; the scheduler then places it by itself.",),
            )
    return None


def _refused_pods(facts: WorkloadFacts, *, title: str) -> Stuck | None:
    """Quotas and admission refuse pods, and say so on the ReplicaSet, not on a pod."""
    for owner in (*facts.replica_sets, *([facts.workload] if facts.workload else [])):
        for each in (owner.get("status") or {}).get("conditions") or []:
            if each.get("type") == "ReplicaFailure" and each.get("status") == "True":
                quota = "exceeded quota" in str(each.get("message"))
                return Stuck(
                    name="OutOfQuota" if quota else "InvalidDeploymentSpec",
                    text=f"The cluster refuses pods of {title}.",
                    proof=str(each.get("message") or ""),
                    fixes=("Raise what the message names for namespace slipway-system, then install again.",),
                )
    return None


def _newest_events(events: Sequence[Obj]) -> str:
    warnings = [each for each in events if each.get("type") == "Warning"]
    newest = sorted(warnings, key=event_time)[-3:]
    return "\n".join(f"{each.get('reason')}: {each.get('message')}" for each in newest)


def event_time(event: Obj) -> str:
    """When an event was last seen; sorts as text."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _any_pod(pods: Sequence[Obj]) -> str:
    return str(pods[-1]["metadata"]["name"]) if pods else ""


# --- Somebody else's installation ---------------------------------------------------------------


def other_studio(objects: Iterable[Obj | None], *, studio: str) -> str:
    """What of these another studio made, as `Kind name`, or ""."""
    for obj in objects:
        if obj and _owner(obj["metadata"]) not in ("", studio):
            return f"{obj['kind']} {obj['metadata']['name']}"
    return ""


def ours(obj: Obj, *, studio: str) -> bool:
    """Whether this studio made it."""
    return _owner(obj["metadata"]) == studio


def _owner(metadata: Mapping[str, object]) -> str:
    found = metadata.get("labels") or {}
    return str(found.get(contract.STUDIO) or "") if isinstance(found, dict) else ""
