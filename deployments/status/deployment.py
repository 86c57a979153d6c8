"""What a deployment is doing, in one word, one sentence and, where something is wrong, one named cause.

    objects of the cluster (workload, ReplicaSets, pods) + what was asked for  --status_of-->  DeploymentStatus

Failed      nothing answers, and why          Updating   a revision is being rolled out
Degraded    fewer answer than should           Scaling    replicas are being added or taken away
Healthy     all there should be are ready      Scaled to 0  none, on purpose
Not reporting  the cluster cannot be asked

Nothing here reads a clock: ages are the reader's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.status import causes
from deployments.status.causes import StatusCause, cause_from_json
from deployments.status.replica import Obj, ReplicaStatus, TailKey, read_replica, replica_from_json
from routerd import contract

FAILED, DEGRADED, UPDATING = "failed", "degraded", "updating"
SCALING, HEALTHY, STOPPED, UNKNOWN = "scaling", "healthy", "stopped", "unknown"


@dataclass(frozen=True)
class Asked:
    """What the rows say: which revision lies in the cluster, and whether it ever worked."""

    revision: int  # 0: none lies there
    newest: int
    proven: bool
    automatic: bool
    script: str
    instance_type: str
    namespace: str
    failure: StatusCause | None = None  # of the newest rollout, when it failed
    working: bool = False  # a rollout is under way


@dataclass(frozen=True)
class Seen:
    """The cluster's objects of one deployment. `trouble` is why they are not known, "" when they are."""

    workload: Obj | None = None
    replica_sets: tuple[Obj, ...] = ()
    pods: tuple[Obj, ...] = ()
    tails: Mapping[TailKey, str] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True)
class DeploymentStatus:
    """What the pages show and rollouts go by."""

    state: str
    sentence: str
    cause: StatusCause | None = None
    replicas: tuple[ReplicaStatus, ...] = ()
    wanted: int | None = None  # None: not known
    ready: int = 0
    revision: int = 0  # of the pod template in the cluster
    settled: bool = False  # the cluster's controller has seen the newest template
    complete: bool = False  # all replicas are of that template and ready, and no older one is left

    def to_json(self) -> dict[str, Any]:
        """Plain values; `status_from_json` reads them."""
        return vars(self) | {
            "cause": self.cause.to_json() if self.cause else None,
            "replicas": [replica.to_json() for replica in self.replicas],
        }

    @property
    def newest(self) -> tuple[ReplicaStatus, ...]:
        """Replicas of the template's revision that are not being ended, the furthest one first."""
        mine = [each for each in self.replicas if each.revision == self.revision and each.phase != "leaving"]
        return tuple(sorted(mine, key=lambda each: -_PROGRESS[each.phase]))


_PROGRESS = {
    phase: place
    for place, phase in enumerate(
        ("leaving", "waiting", "fetching", "pulling", "starting", "failed", "probing", "ready")
    )
}


def status_from_json(data: dict[str, Any]) -> DeploymentStatus | None:
    """The status that `to_json` wrote; None when there is none yet."""
    if "state" not in data:
        return None
    replicas = tuple(replica_from_json(each) for each in data.get("replicas", []))
    return DeploymentStatus(**(data | {"cause": cause_from_json(data.get("cause")), "replicas": replicas}))


def status_of(asked: Asked, *, seen: Seen) -> DeploymentStatus:
    """The status of one deployment."""
    if seen.trouble:
        return DeploymentStatus(state=UNKNOWN, sentence=f"Not reporting. {seen.trouble}")
    if seen.workload is None:
        return _without_workload(asked)
    facts = _read(asked, seen=seen)
    state, sentence = _judge(asked, facts)
    return DeploymentStatus(
        state=state,
        sentence=sentence,
        cause=facts.cause,
        replicas=facts.replicas,
        wanted=facts.wanted,
        ready=facts.ready,
        revision=facts.revision,
        settled=facts.settled,
        complete=facts.complete,
    )


def _without_workload(asked: Asked) -> DeploymentStatus:
    if asked.working:
        return DeploymentStatus(state=UPDATING, sentence="Being prepared. Nothing runs in the cluster yet.", wanted=0)
    if asked.failure:
        sentence = f"Failed: {asked.failure.name}. {asked.failure.text} Nothing of it runs."
        return DeploymentStatus(state=FAILED, sentence=sentence, cause=asked.failure, wanted=0)
    if asked.revision == 0:
        return DeploymentStatus(state=STOPPED, sentence="Not rolled out. Nothing of it runs.", wanted=0)
    gone = StatusCause(
        name=causes.NOT_READY,
        text="Its workload is not in the cluster any more; somebody deleted it there.",
        fixes=(causes.WayOut("Deploy it again."),),
    )
    return DeploymentStatus(state=FAILED, sentence=f"Failed. {gone.text}", cause=gone, wanted=0)


@dataclass(frozen=True)
class _Facts:
    replicas: tuple[ReplicaStatus, ...]
    wanted: int
    ready: int  # of any revision
    ready_new: int
    old: int  # replicas of other revisions that are not being ended
    revision: int
    settled: bool
    cause: StatusCause | None

    @property
    def complete(self) -> bool:
        return self.settled and self.ready_new >= self.wanted and self.old == 0


def _read(asked: Asked, *, seen: Seen) -> _Facts:
    workload = seen.workload or {}
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    revision = int(labels.get(contract.REVISION, 0))
    replicas = tuple(
        read_replica(pod, tails=seen.tails, script=asked.script, instance_type=asked.instance_type)
        for pod in sorted(seen.pods, key=_age)
    )
    here = [each for each in replicas if each.phase != "leaving"]
    ready = [each for each in here if each.phase == "ready"]
    return _Facts(
        replicas=replicas,
        wanted=int(spec.get("replicas", 1)),
        ready=len(ready),
        ready_new=sum(each.revision == revision for each in ready),
        old=sum(each.revision != revision for each in here),
        revision=revision,
        settled=int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0),
        cause=_worst(here, revision=revision) or _refused(seen.replica_sets, asked=asked),
    )


def _age(pod: Obj) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


def _worst(replicas: list[ReplicaStatus], *, revision: int) -> StatusCause | None:
    """The cause of the newest revision's replicas that happened most often; else of any."""
    found = [(each.revision == revision, each.cause.tries, each.cause) for each in replicas if each.cause]
    return max(found, key=lambda each: each[:2])[2] if found else None


def _refused(replica_sets: tuple[Obj, ...], *, asked: Asked) -> StatusCause | None:
    """Quotas and admission rules refuse pods that never exist; only the ReplicaSet says so."""
    for replica_set in replica_sets:
        if not (replica_set.get("spec") or {}).get("replicas"):
            continue
        for condition in (replica_set.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                message, since = condition.get("message") or "", condition.get("lastTransitionTime") or ""
                if "exceeded quota" in message or "failed quota" in message:
                    return causes.out_of_quota(message=message, namespace=asked.namespace, since=since)
                return causes.refused_by_cluster(message=message, since=since)
    return None


def _judge(asked: Asked, facts: _Facts) -> tuple[str, str]:
    """(state, sentence)."""
    if asked.working or not facts.settled or facts.old or (not asked.proven and not facts.complete):
        return _judge_rollout(asked, facts)
    after = _after_failure(asked)
    if facts.wanted == 0:
        told = "The next call starts a replica." if asked.automatic else "Callers get 503."
        return STOPPED, f"Scaled to 0. {told}{after}"
    if facts.ready >= facts.wanted:
        leaving = sum(each.phase == "leaving" for each in facts.replicas)
        more = (
            f" {_count(leaving, 'more')} {'finishes its' if leaving == 1 else 'finish their'} requests."
            if leaving
            else ""
        )
        return HEALTHY, f"{_all_ready(facts.ready)}{more}{after}"
    short = f"{facts.ready} of {facts.wanted} replicas {'is' if facts.ready == 1 else 'are'} ready."
    if facts.cause and facts.ready == 0:
        return FAILED, f"No replica is ready: {facts.cause.name}. {facts.cause.text} Callers get 503.{after}"
    if facts.cause:
        return DEGRADED, f"{short} {facts.cause.name}: {facts.cause.text}{after}"
    return SCALING, f"{short} {_coming(facts)}{after}"


def _judge_rollout(asked: Asked, facts: _Facts) -> tuple[str, str]:
    done = f"{facts.ready_new} of {facts.wanted} {'replica' if facts.wanted == 1 else 'replicas'}"
    done += f" {'is' if 1 in (facts.ready_new, facts.wanted) else 'are'} ready."
    if facts.old:
        callers = " Callers still get the revision before it." if not facts.ready_new else " Both revisions answer."
    else:
        callers = ""
    if facts.cause and facts.cause.settled:
        state = DEGRADED if facts.ready else FAILED
        return state, f"Revision {facts.revision} does not start: {facts.cause.name}. {facts.cause.text}{callers}"
    phase = facts_phase(facts.replicas, revision=facts.revision)
    return UPDATING, f"Rolling out revision {facts.revision}. {phase}{done}{callers}{_after_failure(asked)}"


def facts_phase(replicas: tuple[ReplicaStatus, ...], *, revision: int) -> str:
    """What the slowest new replica is doing, as a sentence with a blank behind it; empty when all are ready."""
    coming = [each for each in replicas if each.revision == revision and each.phase not in ("leaving", "ready")]
    if not coming:
        return ""
    slowest = min(coming, key=lambda each: _PROGRESS[each.phase])
    return f"{slowest.sentence} "


def _after_failure(asked: Asked) -> str:
    if asked.failure is None or asked.newest == asked.revision:
        return ""
    return (
        f" Revision {asked.newest} failed ({asked.failure.name}) and was taken back; revision {asked.revision} answers."
    )


def _all_ready(count: int) -> str:
    return "The replica is ready." if count == 1 else f"All {count} replicas are ready."


def _coming(facts: _Facts) -> str:
    missing = facts.wanted - facts.ready
    phase = facts_phase(facts.replicas, revision=facts.revision).strip()
    return phase or f"{_count(missing, 'replica')} {'is' if missing == 1 else 'are'} being made."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 or noun == "more" else f"{number} {noun}s"
