"""What a Deployment's status says of its ReplicaSets: counts, Available, ReplicaFailure, Progressing (pure)."""

from collections.abc import Sequence
from datetime import datetime

from clusters.embedded.conditions import find_condition, merge_conditions
from clusters.embedded.controllers import rollout
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.resources import Obj


def deployment_status(
    deployment: Obj, *, sets: Sequence[Obj], new: Obj | None, now: datetime
) -> tuple[Obj, float | None]:
    """(status, seconds until the progress deadline would pass)."""
    old = deployment.get("status") or {}
    total, ready, available = (
        sum((s.get("status") or {}).get(key, 0) for s in sets)
        for key in ("replicas", "readyReplicas", "availableReplicas")
    )
    counts = {
        "replicas": total,
        "updatedReplicas": (new.get("status") or {}).get("replicas", 0) if new else 0,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(int(s["spec"].get("replicas", 1)) for s in sets) - available),
        "collisionCount": old.get("collisionCount", 0),
    }
    status: Obj = {key: value for key, value in counts.items() if value}
    status["observedGeneration"] = deployment["metadata"].get("generation", 1)
    bounds, moment = rollout.Bounds.of(deployment["spec"]), rfc3339(now)
    status["conditions"] = _merged(old, _availability(bounds, available=available), now=moment)
    status["conditions"] = _with_failure(status, sets=sets, new=new, now=moment)
    progress, again = _progress(deployment, status=status, new=new, now=now)
    if progress is not None:
        status["conditions"] = _merged(status, progress, now=moment)
    return status, again


def with_created_set(status: Obj, *, name: str, now: datetime) -> Obj:
    """The status when a new ReplicaSet has just been made."""
    condition = _condition("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    return {**status, "conditions": _merged(status, condition, now=rfc3339(now))}


def _availability(bounds: rollout.Bounds, *, available: int) -> Obj:
    if available >= bounds.least_available:
        return _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    return _condition(
        "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    )


def _with_failure(status: Obj, *, sets: Sequence[Obj], new: Obj | None, now: str) -> list[Obj]:
    """ReplicaFailure is passed on from the new ReplicaSet, else from any."""
    kept: list[Obj] = [c for c in status["conditions"] if c["type"] != "ReplicaFailure"]
    for each in ([new] if new is not None else []) + list(sets):
        if condition := find_condition(each, "ReplicaFailure"):
            failure = _condition("ReplicaFailure", "True", condition["reason"], condition["message"])
            return _merged(status, failure, now=now)
    return kept


def _progress(deployment: Obj, *, status: Obj, new: Obj | None, now: datetime) -> tuple[Obj | None, float | None]:
    """(the Progressing condition if it changes, seconds until the deadline)."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    known = find_condition({"status": status}, "Progressing")
    if deadline is None or new is None or deployment["spec"].get("paused"):
        return None, None
    name = new["metadata"]["name"]
    bounds = rollout.Bounds.of(deployment["spec"])
    finished_before = known is not None and known["reason"] == "NewReplicaSetAvailable"
    if finished_before and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return None, None
    if rollout.is_complete(bounds, status=status):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition("Progressing", "True", "NewReplicaSetAvailable", message), None
    if rollout.has_progressed(deployment.get("status") or {}, new=status) or known is None:
        message = f'ReplicaSet "{name}" is progressing.'
        return _condition("Progressing", "True", "ReplicaSetUpdated", message), float(deadline) + 1
    left = float(deadline) - (now - datetime.fromisoformat(known["lastUpdateTime"])).total_seconds()
    if known["reason"] in {"ProgressDeadlineExceeded", "NewReplicaSetAvailable"}:
        return None, None
    if left > 0:
        return None, left + 1
    message = f'ReplicaSet "{name}" has timed out progressing.'
    return _condition("Progressing", "False", "ProgressDeadlineExceeded", message), None


def _condition(kind: str, status: str, reason: str, message: str) -> Obj:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _merged(status: Obj, condition: Obj, *, now: str) -> list[Obj]:
    """Conditions of a Deployment also carry lastUpdateTime; unchanged ones stay untouched."""
    known, conditions = find_condition({"status": status}, condition["type"]), status.get("conditions") or []
    progressing = condition["type"] == "Progressing" and condition["reason"] == "ReplicaSetUpdated"
    if known is not None and not progressing and all(known.get(k) == v for k, v in condition.items()):
        return list(conditions)
    return merge_conditions(conditions, wanted=[{**condition, "lastUpdateTime": now}], now=now)
