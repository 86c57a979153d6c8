"""One pod, read as a replica: which phase it is in, and what is wrong with it.

    waiting -> fetching -> pulling -> starting -> probing -> ready
       '---------'-----------'----------'--> failed            leaving (being ended on purpose)

waiting: no node yet. fetching: the init container brings model and code. pulling: the server's image. starting: init()
runs. probing: it answered once, readiness is still to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deployments.status import causes, server_log
from deployments.status.causes import StatusCause, cause_from_json
from routerd import contract

Obj = dict[str, Any]
TailKey = tuple[str, str, int]  # (pod uid, container, restart)

PHASES: Final = ("waiting", "fetching", "pulling", "starting", "probing", "ready", "failed", "leaving")
_PULL_REASONS: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_SENTENCES: Final = {
    "waiting": "Waiting for a node.",
    "fetching": "Fetching model and code.",
    "pulling": "Pulling the image.",
    "starting": "init() is running.",
    "probing": "init() is done; waiting for the first probe.",
    "ready": "Ready.",
    "leaving": "Finishing its requests, then it ends.",
}


@dataclass(frozen=True)
class ReplicaStatus:
    """One replica, in words. `since` is when this phase began, as far as the cluster says."""

    name: str
    uid: str
    revision: int
    phase: str
    sentence: str
    node: str = ""
    restarts: int = 0
    since: str = ""
    cause: StatusCause | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `replica_from_json` reads them."""
        return vars(self) | {"cause": self.cause.to_json() if self.cause else None}


def replica_from_json(data: dict[str, Any]) -> ReplicaStatus:
    """The replica that `to_json` wrote."""
    return ReplicaStatus(**(data | {"cause": cause_from_json(data.get("cause"))}))


def read_replica(pod: Obj, *, tails: Mapping[TailKey, str], script: str, instance_type: str) -> ReplicaStatus:
    """The replica a pod is. `tails` holds the last lines of containers' logs, where they are known."""
    reader = _Reader(pod, tails=tails, script=script, instance_type=instance_type)
    phase, since, cause = reader.phase()
    meta = pod["metadata"]
    return ReplicaStatus(
        name=meta["name"],
        uid=meta.get("uid", ""),
        revision=int((meta.get("labels") or {}).get(contract.REVISION, 0)),
        phase=phase,
        sentence=cause.text if cause and phase != "ready" else _SENTENCES.get(phase, ""),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        restarts=reader.server.get("restartCount", 0),
        since=since,
        cause=cause,
    )


class _Reader:
    """What the parts of a pod's status say, by name."""

    def __init__(self, pod: Obj, *, tails: Mapping[TailKey, str], script: str, instance_type: str) -> None:
        self._pod = pod
        self._tails = tails
        self._script = script
        self._instance_type = instance_type
        status = pod.get("status") or {}
        self._conditions = {each["type"]: each for each in status.get("conditions") or []}
        self.storage = _container_status(status.get("initContainerStatuses"), contract.FETCH_CONTAINER)
        self.server = _container_status(status.get("containerStatuses"), contract.SERVER_CONTAINER)

    def phase(self) -> tuple[str, str, StatusCause | None]:
        """(phase, since, cause)."""
        meta = self._pod["metadata"]
        created = meta.get("creationTimestamp") or ""
        if meta.get("deletionTimestamp"):
            return "leaving", meta["deletionTimestamp"], None
        if (self._pod.get("status") or {}).get("phase") == "Failed":
            return "failed", created, self._pod_failed()
        scheduled = self._conditions.get("PodScheduled") or {}
        if scheduled.get("status") != "True" and not (self._pod.get("spec") or {}).get("nodeName"):
            return "waiting", created, self._unschedulable(scheduled)
        if cause := self._storage_cause() or self._server_cause():
            return "failed", cause.since, cause
        return self._progress(scheduled.get("lastTransitionTime") or created)

    def _progress(self, scheduled_at: str) -> tuple[str, str, StatusCause | None]:
        fetched = (_state(self.storage).get("terminated") or {}) if self.storage else {}
        if self.storage and fetched.get("exitCode") != 0:
            running = _state(self.storage).get("running") or {}
            return "fetching", running.get("startedAt") or scheduled_at, None
        running = _state(self.server).get("running")
        if running is None:
            return "pulling", fetched.get("finishedAt") or scheduled_at, None
        started_at = running.get("startedAt") or ""
        if not self.server.get("started"):
            return "starting", started_at, None
        ready = self._conditions.get("Ready") or {}
        phase = "ready" if self.server.get("ready") else "probing"
        return phase, ready.get("lastTransitionTime") or started_at, None

    # --- What is wrong ----------------------------------------------------------------------------

    def _unschedulable(self, condition: Obj) -> StatusCause | None:
        if condition.get("reason") != "Unschedulable":
            return None
        return causes.unschedulable(
            message=condition.get("message") or "",
            instance_type=self._instance_type,
            since=condition.get("lastTransitionTime") or "",
        )

    def _pod_failed(self) -> StatusCause:
        status = self._pod.get("status") or {}
        reason = status.get("reason") or "Failed"
        message = f"{reason}: {status.get('message') or 'the node gives no reason'}"
        return causes.crashed(exit_code=0, tail=message, tries=1, since="")

    def _storage_cause(self) -> StatusCause | None:
        if not self.storage:
            return None
        return self._waiting_cause(self.storage) or self._exit_cause(self.storage, name=contract.FETCH_CONTAINER)

    def _server_cause(self) -> StatusCause | None:
        return self._waiting_cause(self.server) or self._exit_cause(self.server, name=contract.SERVER_CONTAINER)

    def _waiting_cause(self, container: Obj) -> StatusCause | None:
        waiting = _state(container).get("waiting") or {}
        since = (self._conditions.get("PodScheduled") or {}).get("lastTransitionTime") or ""
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in _PULL_REASONS:
            return causes.image_not_pulled(image=container.get("image") or "", message=message or reason, since=since)
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return causes.refused_by_cluster(message=f"{reason}: {message}", since=since)
        return None

    def _exit_cause(self, container: Obj, *, name: str) -> StatusCause | None:
        ended, restart = _last_exit(container)
        if ended is None:
            return None
        # A log that is being followed is waited for: the node's excerpt may have cut the line that proves it.
        tail = self._tails.get((self._pod["metadata"].get("uid", ""), name, restart), ended.get("message") or "")
        return self._explain(ended, name=name, tail=tail, tries=restart + 1)

    def _explain(self, ended: Obj, *, name: str, tail: str, tries: int) -> StatusCause | None:
        code, since = int(ended.get("exitCode") or 0), ended.get("finishedAt") or ""
        if ended.get("reason") == "OOMKilled":
            limits = _limits(self._pod, name)
            return causes.out_of_memory(limit=str(limits.get("memory", "")), tries=tries, since=since)
        if name == contract.FETCH_CONTAINER:
            return causes.fetch_failed(tail=server_log.last_line(tail), tries=tries, since=since)
        if failure := server_log.find_failure(tail):
            return causes.script_failed(failure, script=self._script, tries=tries, since=since)
        return causes.crashed(exit_code=code, tail=server_log.last_line(tail), tries=tries, since=since)


def _container_status(listed: list[Obj] | None, name: str) -> Obj:
    return next((each for each in listed or [] if each.get("name") == name), {})


def _state(container: Obj) -> Obj:
    return container.get("state") or {}


def _last_exit(container: Obj) -> tuple[Obj | None, int]:
    """How the container last ended and which run that was, unless it runs well now. (None, 0) otherwise.

    A container that was started again counts as failed until it is ready: it has not proved to be better.
    """
    restarts = int(container.get("restartCount") or 0)
    now = _state(container).get("terminated")
    if now is not None:
        return (now, restarts) if now.get("exitCode") or now.get("reason") == "OOMKilled" else (None, 0)
    before = (container.get("lastState") or {}).get("terminated")
    if before is None or restarts == 0 or container.get("ready"):
        return None, 0
    return (before, restarts - 1) if before.get("exitCode") else (None, 0)


def _limits(pod: Obj, name: str) -> Obj:
    spec = pod.get("spec") or {}
    every = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    mine: Obj = next((each for each in every if each.get("name") == name), {})
    return (mine.get("resources") or {}).get("limits") or {}
