"""Deployment -> ReplicaSets: one per template, moved from the old to the new within the strategy's bounds.

    paused or scaled  -> sizes only          | new template -> a new ReplicaSet, named by the template's hash
    rolling update    -> grow new, then shrink old (rollout.py)     | recreate -> old to 0, wait, then new

The status is written at every look; `progressDeadlineSeconds` is looked at again when it would run out.
"""

import copy
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from clusters.embedded.controllers import rollout
from clusters.embedded.controllers.owners import (
    controller_of,
    is_controlled_by,
    reference_to,
    template_hash,
    with_owner,
)
from clusters.embedded.errors import AlreadyExists
from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.registry import Registry
from clusters.embedded.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Obj, Resource
from clusters.embedded.selectors import from_object

Key = tuple[str, str]
REVISION: Final = "deployment.kubernetes.io/revision"
_DESIRED: Final = rollout.DESIRED
_MOST: Final = "deployment.kubernetes.io/max-replicas"
_HASH: Final = "pod-template-hash"
_NOT_COPIED: Final = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, _DESIRED, _MOST, "deprecated.deployment.rollback.to"}
)


class DeploymentController:
    name = "deployment-controller"
    watched: tuple[Resource, ...] = (DEPLOYMENTS, REPLICA_SETS, PODS)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        namespace = obj["metadata"]["namespace"]
        if resource == DEPLOYMENTS:
            return [(namespace, obj["metadata"]["name"])]
        owner = controller_of(obj)
        if owner is None:
            return self._matching(obj) if resource == REPLICA_SETS else []
        if owner["kind"] == "Deployment":
            return [(namespace, owner["name"])]
        if resource == PODS and deleted:  # a Recreate waits for the last old pod
            parent = self._registry.find(REPLICA_SETS, namespace, owner["name"])
            return self.keys(REPLICA_SETS, parent, deleted=False) if parent else []
        return []

    def _matching(self, orphan: Obj) -> list[Key]:
        namespace, labels = orphan["metadata"]["namespace"], orphan["metadata"].get("labels")
        return [
            (namespace, deployment["metadata"]["name"])
            for deployment in self._registry.list(DEPLOYMENTS, namespace)
            if from_object(deployment["spec"]["selector"]).matches(labels)
        ]

    def reconcile(self, key: Key) -> float | None:
        deployment = self._registry.find(DEPLOYMENTS, *key)
        if deployment is None:
            return None
        sets = self._sets_of(deployment)
        new = find_new(deployment, sets=sets)
        if "deletionTimestamp" in deployment["metadata"]:
            return self._write_status(deployment, sets=sets, new=new)
        if deployment["spec"].get("paused") or (_was_scaled(deployment, sets=sets) and new is not None):
            self._scale_all(deployment, sets=sets, new=new)
        else:
            new = self._roll(deployment, sets=sets)
        sets = self._sets_of(deployment)
        new = find_new(deployment, sets=sets)
        again = self._write_status(deployment, sets=sets, new=new)
        self._forget_history(deployment, sets=sets, new=new)
        return again

    def _sets_of(self, deployment: Obj) -> list[Obj]:
        selector = from_object(deployment["spec"]["selector"])
        found = []
        for candidate in self._registry.list(REPLICA_SETS, deployment["metadata"]["namespace"]):
            if is_controlled_by(candidate, deployment):
                found.append(candidate)
            elif _may_adopt(candidate, owner=deployment) and selector.matches(candidate["metadata"].get("labels")):
                adopted = with_owner(candidate, deployment, resource=DEPLOYMENTS)
                found.append(self._registry.update(REPLICA_SETS, adopted))
        return sorted(found, key=lambda s: (s["metadata"]["creationTimestamp"], s["metadata"]["name"]))

    # --- Rolling out ------------------------------------------------------------------------------

    def _roll(self, deployment: Obj, *, sets: list[Obj]) -> Obj | None:
        bounds = rollout.Bounds.of(deployment["spec"])
        recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
        new = find_new(deployment, sets=sets)
        old = [s for s in sets if new is None or s["metadata"]["uid"] != new["metadata"]["uid"]]
        if recreate:
            active = [s for s in old if s["spec"].get("replicas", 1)]
            for each in active:
                self._resize(deployment, each, replicas=0)
            if active or self._has_pods(deployment, sets=old):
                return new
        new = self._ensure_new(deployment, new=new, old=old, bounds=bounds, recreate=recreate)
        if new is None:
            return None
        view, others = _view(new), [_view(s) for s in old]
        wanted = bounds.desired if recreate else rollout.next_new_replicas(bounds, new=view, old=others)
        if wanted != view.replicas:
            self._resize(deployment, new, replicas=wanted)
            return new
        if not recreate:
            for name, replicas in rollout.next_old_replicas(bounds, new=view, old=others).items():
                self._resize(deployment, next(s for s in old if s["metadata"]["name"] == name), replicas=replicas)
        return new

    def _has_pods(self, deployment: Obj, *, sets: Sequence[Obj]) -> bool:
        pods = self._registry.list(PODS, deployment["metadata"]["namespace"])
        ended = {"Succeeded", "Failed"}
        living = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ended]
        return any(is_controlled_by(pod, owner) for pod in living for owner in sets)

    def _ensure_new(
        self, deployment: Obj, *, new: Obj | None, old: Sequence[Obj], bounds: rollout.Bounds, recreate: bool
    ) -> Obj | None:
        revision = str(max((_revision(s) for s in old), default=0) + 1)
        if new is not None:
            if _revision(new) < int(revision):
                new = self._annotate_set(new, {REVISION: revision})
            self._annotate_deployment(deployment, _revision(new))
            return new
        empty = rollout.SetView("", 0, 0)
        others = [_view(s) for s in old]
        replicas = bounds.desired if recreate else rollout.next_new_replicas(bounds, new=empty, old=others)
        made = self._create_set(deployment, replicas=replicas, revision=revision, bounds=bounds)
        if made is not None:
            self._annotate_deployment(deployment, int(revision))
            self._note_progress(deployment, made)
        return made

    def _create_set(self, deployment: Obj, *, replicas: int, revision: str, bounds: rollout.Bounds) -> Obj | None:
        collisions = int((deployment.get("status") or {}).get("collisionCount") or 0)
        template = copy.deepcopy(deployment["spec"]["template"])
        digest = template_hash(template, collisions=collisions)
        metadata = template.setdefault("metadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), _HASH: digest}
        selector = copy.deepcopy(deployment["spec"]["selector"])
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), _HASH: digest}
        name = f"{deployment['metadata']['name']}-{digest}"
        annotations = _copied_annotations(deployment) | _size_annotations(bounds) | {REVISION: revision}
        obj = {
            "metadata": {
                "name": name,
                "labels": dict(metadata["labels"]),
                "annotations": annotations,
                "ownerReferences": [reference_to(deployment, resource=DEPLOYMENTS)],
            },
            "spec": {
                "replicas": replicas,
                "selector": selector,
                "template": template,
                "minReadySeconds": int(deployment["spec"].get("minReadySeconds") or 0),
            },
        }
        try:
            made = self._registry.create(REPLICA_SETS, obj, namespace=deployment["metadata"]["namespace"])
        except AlreadyExists:
            status = {**(deployment.get("status") or {}), "collisionCount": collisions + 1}
            self._registry.update_status(DEPLOYMENTS, {**self._current(deployment), "status": status})
            return None
        self._tell_scaled(deployment, name, before=0, after=replicas)
        return made

    def _scale_all(self, deployment: Obj, *, sets: Sequence[Obj], new: Obj | None) -> None:
        """Sizes after `spec.replicas` changed, or while paused."""
        bounds = rollout.Bounds.of(deployment["spec"])
        active = [s for s in sets if s["spec"].get("replicas", 1)]
        if len(active) <= 1:
            only = active[0] if active else (new or (sets[-1] if sets else None))
            if only is not None:
                self._resize(deployment, only, replicas=bounds.desired)
            return
        if new is not None and _is_saturated(new, desired=bounds.desired):
            for each in active:
                if each["metadata"]["uid"] != new["metadata"]["uid"]:
                    self._resize(deployment, each, replicas=0)
            return
        sizes = rollout.proportional(bounds, views=[_view(s) for s in active])
        for each in active:
            name = each["metadata"]["name"]
            self._resize(deployment, each, replicas=sizes.get(name, each["spec"]["replicas"]))

    def _resize(self, deployment: Obj, target: Obj, *, replicas: int) -> None:
        bounds = rollout.Bounds.of(deployment["spec"])
        before = int(target["spec"].get("replicas", 1))
        annotations = {**(target["metadata"].get("annotations") or {}), **_size_annotations(bounds)}
        if before == replicas and annotations == target["metadata"].get("annotations"):
            return
        changed = {
            **target,
            "metadata": {**target["metadata"], "annotations": annotations},
            "spec": {**target["spec"], "replicas": replicas},
        }
        self._registry.update(REPLICA_SETS, changed)
        if before != replicas:
            self._tell_scaled(deployment, target["metadata"]["name"], before=before, after=replicas)

    # --- Annotations and history ------------------------------------------------------------------

    def _annotate_set(self, target: Obj, values: dict[str, str]) -> Obj:
        annotations = {**(target["metadata"].get("annotations") or {}), **values}
        return self._registry.update(
            REPLICA_SETS, {**target, "metadata": {**target["metadata"], "annotations": annotations}}
        )

    def _annotate_deployment(self, deployment: Obj, revision: int) -> None:
        current = self._current(deployment)
        annotations = current["metadata"].get("annotations") or {}
        if annotations.get(REVISION) != str(revision):
            metadata = {**current["metadata"], "annotations": {**annotations, REVISION: str(revision)}}
            self._registry.update(DEPLOYMENTS, {**current, "metadata": metadata})

    def _forget_history(self, deployment: Obj, *, sets: Sequence[Obj], new: Obj | None) -> None:
        limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
        status = self._current(deployment).get("status") or {}
        if not rollout.is_complete(rollout.Bounds.of(deployment["spec"]), status=status):
            return
        old = [s for s in sets if new is None or s["metadata"]["uid"] != new["metadata"]["uid"]]
        idle = [s for s in old if not s["spec"].get("replicas") and not (s.get("status") or {}).get("replicas")]
        for each in sorted(idle, key=_revision)[: max(0, len(idle) - limit)]:
            self._registry.delete(REPLICA_SETS, each["metadata"]["namespace"], each["metadata"]["name"])

    # --- Status -----------------------------------------------------------------------------------

    def _current(self, deployment: Obj) -> Obj:
        return self._registry.get(DEPLOYMENTS, deployment["metadata"]["namespace"], deployment["metadata"]["name"])

    def _note_progress(self, deployment: Obj, made: Obj) -> None:
        current = self._current(deployment)
        message = f'Created new replica set "{made["metadata"]["name"]}"'
        condition = _condition("Progressing", "True", "NewReplicaSetCreated", message)
        status = {**(current.get("status") or {})}
        status["conditions"] = _merged(status, condition, now=rfc3339(self._registry.clock()))
        self._registry.update_status(DEPLOYMENTS, {**current, "status": status})

    def _write_status(self, deployment: Obj, *, sets: Sequence[Obj], new: Obj | None) -> float | None:
        current, now = self._current(deployment), self._registry.clock()
        status, again = deployment_status(current, sets=sets, new=new, now=now)
        if status != current.get("status"):
            self._registry.update_status(DEPLOYMENTS, {**current, "status": status})
        return again

    def _tell_scaled(self, deployment: Obj, name: str, *, before: int, after: int) -> None:
        if before == after:
            return
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._registry.record_event(
            deployment, type="Normal", reason="ScalingReplicaSet", message=message, component=self.name
        )


def _may_adopt(candidate: Obj, *, owner: Obj) -> bool:
    ending = "deletionTimestamp" in candidate["metadata"] or "deletionTimestamp" in owner["metadata"]
    return controller_of(candidate) is None and not ending


def find_new(deployment: Obj, *, sets: Sequence[Obj]) -> Obj | None:
    """The ReplicaSet (the oldest, should there be two) whose template is the Deployment's."""
    wanted = _canonical(deployment["spec"]["template"])
    return next((s for s in sets if _canonical(s["spec"]["template"]) == wanted), None)


def _canonical(template: Obj) -> str:
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if v and k != "creationTimestamp"}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != _HASH}
    return json.dumps([{**metadata, "labels": labels}, template.get("spec")], sort_keys=True)


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
        for condition in (each.get("status") or {}).get("conditions") or ():
            if condition["type"] == "ReplicaFailure":
                failure = _condition("ReplicaFailure", "True", condition["reason"], condition["message"])
                return _merged(status, failure, now=now)
    return kept


def _progress(deployment: Obj, *, status: Obj, new: Obj | None, now: datetime) -> tuple[Obj | None, float | None]:
    """(the Progressing condition if it changes, seconds until the deadline)."""
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    known = next((c for c in status["conditions"] if c["type"] == "Progressing"), None)
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
    result, known = [], None
    for other in status.get("conditions") or ():
        if other["type"] == condition["type"]:
            known = other
        else:
            result.append(other)
    progressing = condition["type"] == "Progressing" and condition["reason"] == "ReplicaSetUpdated"
    if known is not None and not progressing and all(known.get(k) == v for k, v in condition.items()):
        return list(status["conditions"])
    since = known["lastTransitionTime"] if known and known["status"] == condition["status"] else now
    return [*result, {**condition, "lastUpdateTime": now, "lastTransitionTime": since}]


def _view(target: Obj) -> rollout.SetView:
    annotations = target["metadata"].get("annotations") or {}
    return rollout.SetView(
        name=target["metadata"]["name"],
        replicas=int(target["spec"].get("replicas", 1)),
        available=int((target.get("status") or {}).get("availableReplicas", 0)),
        created=target["metadata"]["creationTimestamp"],
        max_replicas=int(annotations.get(_MOST, 0)),
    )


def _revision(target: Obj) -> int:
    return int((target["metadata"].get("annotations") or {}).get(REVISION, 0))


def _was_scaled(deployment: Obj, *, sets: Sequence[Obj]) -> bool:
    desired = str(deployment["spec"].get("replicas", 1))
    return any(
        s["spec"].get("replicas") and (s["metadata"].get("annotations") or {}).get(_DESIRED, desired) != desired
        for s in sets
    )


def _is_saturated(target: Obj, *, desired: int) -> bool:
    annotations = target["metadata"].get("annotations") or {}
    available = (target.get("status") or {}).get("availableReplicas", 0)
    return target["spec"].get("replicas") == desired == available and annotations.get(_DESIRED) == str(desired)


def _size_annotations(bounds: rollout.Bounds) -> dict[str, str]:
    return {_DESIRED: str(bounds.desired), _MOST: str(bounds.most)}


def _copied_annotations(deployment: Obj) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in _NOT_COPIED}
