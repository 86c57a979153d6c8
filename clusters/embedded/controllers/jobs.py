"""Job -> Pods, until enough of them have succeeded or too many have failed.

    running --completions reached--> Complete        --+
            --more than backoffLimit failures-------->  Failed (BackoffLimitExceeded) --+--ttl--> deleted
            --activeDeadlineSeconds over------------->  Failed (DeadlineExceeded)     --+
            --spec.suspend-->  Suspended (its pods are ended) --> running, with a new start time

What happened is counted from the pods that are there: one that has ended and is then deleted by hand is forgotten,
and run again. Completion mode Indexed is refused at creation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from clusters.embedded.conditions import is_true
from clusters.embedded.controllers.owners import controller_of, is_controlled_by, pod_of
from clusters.embedded.controllers.replica_sets import in_ending_namespace, is_active, is_ready
from clusters.embedded.errors import ApiError, NotImplementedHere
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.resources import JOBS, PODS, Obj, Resource

Key = tuple[str, str]
_LONGEST_BACK_OFF: Final = 360.0


@dataclass(frozen=True)
class Tally:
    """What the pods of a Job say."""

    active: int
    ready: int
    succeeded: int
    failed: int
    restarts: int  # of containers, for pods that are restarted in place
    last_failure: datetime | None = None

    @classmethod
    def of(cls, pods: Sequence[Obj]) -> "Tally":
        def count(phase: str) -> int:
            return sum((pod.get("status") or {}).get("phase") == phase for pod in pods)

        active = [pod for pod in pods if is_active(pod)]
        return cls(
            active=len(active),
            ready=sum(is_ready(pod) for pod in active),
            succeeded=count("Succeeded"),
            failed=count("Failed"),
            restarts=sum(_restarts(pod) for pod in active if pod["spec"].get("restartPolicy") == "OnFailure"),
            last_failure=max((end for pod in pods if (end := _failed_at(pod)) is not None), default=None),
        )


@dataclass(frozen=True)
class Verdict:
    """How a Job ended."""

    succeeded: bool
    reason: str
    message: str


def verdict(job: Obj, *, tally: Tally, now: datetime) -> Verdict | None:
    """Whether it is over (pure)."""
    spec, completions = job["spec"], job["spec"].get("completions")
    if completions is None:
        if tally.succeeded and not tally.active:
            return Verdict(True, "CompletionsReached", "Reached expected number of succeeded pods")
    elif tally.succeeded >= int(completions):
        return Verdict(True, "CompletionsReached", "Reached expected number of succeeded pods")
    limit = int(spec.get("backoffLimit", 6))
    if tally.failed > limit or (tally.restarts and tally.failed + tally.restarts > limit):
        return Verdict(False, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = deadline_in(job, now=now)
    if left is not None and left <= 0:
        return Verdict(False, "DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def wanted_pods(job: Obj, *, tally: Tally) -> int:
    """How many pods should be active now."""
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        return tally.active if tally.succeeded else parallelism
    return min(parallelism, int(spec["completions"]) - tally.succeeded)


def deadline_in(job: Obj, *, now: datetime) -> float | None:
    """Seconds until activeDeadlineSeconds are over."""
    seconds, began = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or began is None:
        return None
    return float(seconds) - (now - datetime.fromisoformat(began)).total_seconds()


def back_off_in(tally: Tally, *, base: float, now: datetime) -> float:
    """Seconds until the next pod may follow a failed one: base, doubled with each failure, at most six minutes."""
    if not tally.failed or tally.last_failure is None:
        return 0.0
    pause = min(base * 2.0 ** (tally.failed - 1), _LONGEST_BACK_OFF)
    return max(0.0, pause - (now - tally.last_failure).total_seconds())


class JobController:
    name = "job-controller"
    watched: tuple[Resource, ...] = (JOBS, PODS)

    def __init__(self, registry: Registry, *, back_off: float) -> None:
        self._registry = registry
        self._back_off = back_off

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        del deleted
        if resource == JOBS:
            return [(obj["metadata"]["namespace"], obj["metadata"]["name"])]
        owner = controller_of(obj)
        return [(obj["metadata"]["namespace"], owner["name"])] if owner and owner["kind"] == "Job" else []

    def reconcile(self, key: Key) -> float | None:
        job = self._registry.find(JOBS, *key)
        if job is None or "deletionTimestamp" in job["metadata"]:
            return None
        if finished_at(job) is not None:
            return self._expire(job)
        now = self._registry.clock()
        status = dict(job.get("status") or {})
        if not job["spec"].get("suspend"):
            status.setdefault("startTime", rfc3339(now))
        job = {**job, "status": status}
        tally = self._tally(job)
        end = verdict(job, tally=tally, now=now)
        if end is not None:
            self._end_pods(job)
            self._write(job, tally=self._tally(job), conditions=_final(end, now=rfc3339(now)))
            kind = "Normal" if end.succeeded else "Warning"
            self._tell(job, kind, "Completed" if end.succeeded else end.reason, _told(end))
            return self._expire(self._registry.get(JOBS, *key))
        if job["spec"].get("suspend"):
            self._suspend(job)
            return None
        again, refused = self._fill(job, tally=tally, now=now)
        self._write(job, tally=self._tally(job), conditions=_resumed(job, now=rfc3339(now)))
        if refused is not None and not in_ending_namespace(refused):
            raise refused  # the loop tries again, later and later
        waits = [wait for wait in (again, deadline_in(job, now=now)) if wait]
        return min(waits, default=None)

    def _tally(self, job: Obj) -> Tally:
        return Tally.of(self._pods(job))

    def _pods(self, job: Obj) -> list[Obj]:
        pods = self._registry.list(PODS, job["metadata"]["namespace"])
        return [pod for pod in pods if is_controlled_by(pod, job)]

    def _fill(self, job: Obj, *, tally: Tally, now: datetime) -> tuple[float | None, ApiError | None]:
        """(seconds until more may be made, why one was refused)."""
        missing = wanted_pods(job, tally=tally) - tally.active
        for pod in [pod for pod in self._pods(job) if is_active(pod)][: max(0, -missing)]:
            self._delete(job, pod)
        if missing <= 0:
            return None, None
        if pause := back_off_in(tally, base=self._back_off, now=now):
            return pause, None
        for _ in range(missing):
            try:
                made = self._registry.create(PODS, pod_of(job, resource=JOBS), namespace=job["metadata"]["namespace"])
            except ApiError as error:
                self._tell(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
                return None, error
            self._tell(job, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return None, None

    def _suspend(self, job: Obj) -> None:
        self._end_pods(job)
        now = rfc3339(self._registry.clock())
        status = {key: value for key, value in job["status"].items() if key != "startTime"}
        conditions = _with(status, "Suspended", "True", "JobSuspended", "Job suspended", now=now)
        self._write({**job, "status": status}, tally=self._tally(job), conditions=conditions)

    def _end_pods(self, job: Obj) -> None:
        for pod in self._pods(job):
            if is_active(pod):
                self._delete(job, pod)

    def _delete(self, job: Obj, pod: Obj) -> None:
        metadata = pod["metadata"]
        self._registry.delete(PODS, metadata["namespace"], metadata["name"], preconditions_uid=metadata["uid"])
        self._tell(job, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}")

    def _expire(self, job: Obj) -> float | None:
        ttl, ended = job["spec"].get("ttlSecondsAfterFinished"), finished_at(job)
        if ttl is None or ended is None:
            return None
        left = float(ttl) - (self._registry.clock() - ended).total_seconds()
        if left > 0:
            return left
        self._registry.delete(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
        return None

    def _write(self, job: Obj, *, tally: Tally, conditions: list[Obj]) -> None:
        current = self._registry.get(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
        counts = {"active": tally.active, "succeeded": tally.succeeded, "failed": tally.failed}
        status: Obj = {key: value for key, value in counts.items() if value} | {"ready": tally.ready}
        if "startTime" in job["status"]:
            status["startTime"] = job["status"]["startTime"]
        if conditions:
            status["conditions"] = conditions
        complete = next((c for c in conditions if c["type"] == "Complete"), None)
        if complete is not None:
            status["completionTime"] = complete["lastTransitionTime"]
        if status != current.get("status"):
            self._registry.update_status(JOBS, {**current, "status": status})

    def _tell(self, job: Obj, kind: str, reason: str, message: str) -> None:
        self._registry.record_event(job, type=kind, reason=reason, message=message, component=self.name)


def finished_at(job: Obj) -> datetime | None:
    """When it became Complete or Failed."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def admit(admission: Admission) -> None:
    """For ``registry.admission``. Raises NotImplementedHere."""
    made = admission.resource == JOBS and admission.operation == "CREATE"
    if made and admission.obj["spec"].get("completionMode") == "Indexed":
        raise NotImplementedHere("the embedded cluster has no Jobs of completionMode Indexed")


def _told(end: Verdict) -> str:
    return "Job completed" if end.succeeded else end.message


def _final(end: Verdict, *, now: str) -> list[Obj]:
    first, last = ("SuccessCriteriaMet", "Complete") if end.succeeded else ("FailureTarget", "Failed")
    times = {"lastProbeTime": now, "lastTransitionTime": now}
    facts = {"status": "True", "reason": end.reason, "message": end.message}
    return [{"type": first, **facts, **times}, {"type": last, **facts, **times}]


def _resumed(job: Obj, *, now: str) -> list[Obj]:
    status = job["status"]
    if not is_true(job, "Suspended"):
        return list(status.get("conditions") or ())
    return _with(status, "Suspended", "False", "JobResumed", "Job resumed", now=now)


def _with(status: Obj, kind: str, value: str, reason: str, message: str, *, now: str) -> list[Obj]:
    known = status.get("conditions") or []
    if any(c["type"] == kind and c["status"] == value for c in known):
        return list(known)
    condition = {"type": kind, "status": value, "reason": reason, "message": message}
    return [*(c for c in known if c["type"] != kind), {**condition, "lastProbeTime": now, "lastTransitionTime": now}]


def _restarts(pod: Obj) -> int:
    return sum(int(s.get("restartCount", 0)) for s in (pod.get("status") or {}).get("containerStatuses") or ())


def _failed_at(pod: Obj) -> datetime | None:
    status = pod.get("status") or {}
    if status.get("phase") != "Failed":
        return None
    ends = [
        ended["finishedAt"]
        for s in status.get("containerStatuses") or ()
        if (ended := (s.get("state") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    return datetime.fromisoformat(max(ends, default=pod["metadata"]["creationTimestamp"]))
