"""Deployment -> ReplicaSets: one per template, moved from the old to the new within the strategy's bounds.

    paused or scaled  -> sizes only          | new template -> a new ReplicaSet, named by the template's hash
    rolling update    -> grow new, then shrink old (rollout.py)     | recreate -> old to 0, wait, then new

The status is written at every look; `progressDeadlineSeconds` is looked at again when it would run out.
"""

from collections.abc import Iterable, Sequence

from clusters.embedded.conditions import has_ended
from clusters.embedded.controllers import rollout
from clusters.embedded.controllers.deployment_status import deployment_status, with_created_set
from clusters.embedded.controllers.owners import claim, controller_of, is_controlled_by, takers_of
from clusters.embedded.controllers.revisions import (
    REVISION,
    annotated,
    collisions,
    find_new,
    fresh_set,
    is_saturated,
    others,
    revision_of,
    size_annotations,
    view_of,
    was_scaled,
)
from clusters.embedded.errors import AlreadyExists
from clusters.embedded.registry import Registry
from clusters.embedded.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Obj, Resource

Key = tuple[str, str]


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
            return takers_of(self._registry, obj, kind=DEPLOYMENTS) if resource == REPLICA_SETS else []
        if owner["kind"] == "Deployment":
            return [(namespace, owner["name"])]
        if resource == PODS and deleted:  # a Recreate waits for the last old pod
            parent = self._registry.find(REPLICA_SETS, namespace, owner["name"])
            return self.keys(REPLICA_SETS, parent, deleted=False) if parent else []
        return []

    def reconcile(self, key: Key) -> float | None:
        deployment = self._registry.find(DEPLOYMENTS, *key)
        if deployment is None:
            return None
        sets = self._sets_of(deployment)
        new = find_new(deployment, sets=sets)
        if "deletionTimestamp" in deployment["metadata"]:
            return self._write_status(deployment, sets=sets, new=new)
        if deployment["spec"].get("paused") or (was_scaled(deployment, sets=sets) and new is not None):
            self._scale_all(deployment, sets=sets, new=new)
        else:
            new = self._roll(deployment, sets=sets)
        sets = self._sets_of(deployment)
        new = find_new(deployment, sets=sets)
        again = self._write_status(deployment, sets=sets, new=new)
        self._forget_history(deployment, sets=sets, new=new)
        return again

    def _sets_of(self, deployment: Obj) -> list[Obj]:
        found = claim(self._registry, REPLICA_SETS, owner=deployment, kind=DEPLOYMENTS)
        return sorted(found, key=lambda s: (s["metadata"]["creationTimestamp"], s["metadata"]["name"]))

    # --- Rolling out ------------------------------------------------------------------------------

    def _roll(self, deployment: Obj, *, sets: list[Obj]) -> Obj | None:
        bounds = rollout.Bounds.of(deployment["spec"])
        recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
        new = find_new(deployment, sets=sets)
        old = others(sets, new=new)
        if recreate:
            active = [s for s in old if s["spec"].get("replicas", 1)]
            for each in active:
                self._resize(deployment, each, replicas=0)
            if active or self._has_pods(deployment, sets=old):
                return new
        new = self._ensure_new(deployment, new=new, old=old, bounds=bounds, recreate=recreate)
        if new is None:
            return None
        view, rest = view_of(new), [view_of(s) for s in old]
        wanted = bounds.desired if recreate else rollout.next_new_replicas(bounds, new=view, old=rest)
        if wanted != view.replicas:
            self._resize(deployment, new, replicas=wanted)
            return new
        if not recreate:
            for name, replicas in rollout.next_old_replicas(bounds, new=view, old=rest).items():
                self._resize(deployment, next(s for s in old if s["metadata"]["name"] == name), replicas=replicas)
        return new

    def _has_pods(self, deployment: Obj, *, sets: Sequence[Obj]) -> bool:
        pods = self._registry.list(PODS, deployment["metadata"]["namespace"])
        return any(is_controlled_by(pod, owner) for pod in pods if not has_ended(pod) for owner in sets)

    def _ensure_new(
        self, deployment: Obj, *, new: Obj | None, old: Sequence[Obj], bounds: rollout.Bounds, recreate: bool
    ) -> Obj | None:
        revision = max((revision_of(s) for s in old), default=0) + 1
        if new is None:
            replicas = bounds.desired
            if not recreate:
                empty = rollout.SetView("", 0, 0)
                replicas = rollout.next_new_replicas(bounds, new=empty, old=[view_of(s) for s in old])
            return self._create_set(deployment, replicas=replicas, revision=revision, bounds=bounds)
        if revision_of(new) < revision:
            new = self._registry.update(REPLICA_SETS, annotated(new, {REVISION: str(revision)}))
        self._note_revision(deployment, revision_of(new))
        return new

    def _create_set(self, deployment: Obj, *, replicas: int, revision: int, bounds: rollout.Bounds) -> Obj | None:
        obj = fresh_set(deployment, replicas=replicas, revision=revision, bounds=bounds)
        try:
            made = self._registry.create(REPLICA_SETS, obj, namespace=deployment["metadata"]["namespace"])
        except AlreadyExists:
            current = self._current(deployment)
            status = {**(deployment.get("status") or {}), "collisionCount": collisions(deployment) + 1}
            self._registry.update_status(DEPLOYMENTS, {**current, "status": status})
            return None
        name = made["metadata"]["name"]
        self._tell_scaled(deployment, name, before=0, after=replicas)
        self._note_revision(deployment, revision)
        current = self._current(deployment)
        status = with_created_set(current.get("status") or {}, name=name, now=self._registry.clock())
        self._registry.update_status(DEPLOYMENTS, {**current, "status": status})
        return made

    def _note_revision(self, deployment: Obj, revision: int) -> None:
        current = self._current(deployment)
        told = annotated(current, {REVISION: str(revision)})
        if told is not current:
            self._registry.update(DEPLOYMENTS, told)

    def _scale_all(self, deployment: Obj, *, sets: Sequence[Obj], new: Obj | None) -> None:
        """Sizes after `spec.replicas` changed, or while paused."""
        bounds = rollout.Bounds.of(deployment["spec"])
        active = [s for s in sets if s["spec"].get("replicas", 1)]
        if len(active) <= 1:
            only = active[0] if active else (new or (sets[-1] if sets else None))
            if only is not None:
                self._resize(deployment, only, replicas=bounds.desired)
            return
        if new is not None and is_saturated(new, desired=bounds.desired):
            for each in active:
                if each["metadata"]["uid"] != new["metadata"]["uid"]:
                    self._resize(deployment, each, replicas=0)
            return
        sizes = rollout.proportional(bounds, views=[view_of(s) for s in active])
        for each in active:
            name = each["metadata"]["name"]
            self._resize(deployment, each, replicas=sizes.get(name, each["spec"]["replicas"]))

    def _resize(self, deployment: Obj, target: Obj, *, replicas: int) -> None:
        before = int(target["spec"].get("replicas", 1))
        changed = annotated(target, size_annotations(rollout.Bounds.of(deployment["spec"])))
        if before != replicas:
            changed = {**changed, "spec": {**changed["spec"], "replicas": replicas}}
        if changed is not target:
            self._registry.update(REPLICA_SETS, changed)
        self._tell_scaled(deployment, target["metadata"]["name"], before=before, after=replicas)

    # --- History and status -----------------------------------------------------------------------

    def _forget_history(self, deployment: Obj, *, sets: Sequence[Obj], new: Obj | None) -> None:
        limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
        status = self._current(deployment).get("status") or {}
        if not rollout.is_complete(rollout.Bounds.of(deployment["spec"]), status=status):
            return
        old = others(sets, new=new)
        idle = [s for s in old if not s["spec"].get("replicas") and not (s.get("status") or {}).get("replicas")]
        for each in sorted(idle, key=revision_of)[: max(0, len(idle) - limit)]:
            self._registry.delete(REPLICA_SETS, each["metadata"]["namespace"], each["metadata"]["name"])

    def _current(self, deployment: Obj) -> Obj:
        return self._registry.get(DEPLOYMENTS, deployment["metadata"]["namespace"], deployment["metadata"]["name"])

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
