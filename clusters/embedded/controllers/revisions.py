"""A Deployment's ReplicaSets as objects: which is the new one, what a fresh one is, what annotations tell (pure)."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from clusters.embedded.controllers import rollout
from clusters.embedded.controllers.owners import reference_to, template_hash
from clusters.embedded.resources import DEPLOYMENTS, Obj, copied_object

REVISION: Final = "deployment.kubernetes.io/revision"
_DESIRED: Final = "deployment.kubernetes.io/desired-replicas"
_MOST: Final = "deployment.kubernetes.io/max-replicas"
_HASH: Final = "pod-template-hash"
_NOT_COPIED: Final = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, _DESIRED, _MOST, "deprecated.deployment.rollback.to"}
)


def find_new(deployment: Obj, *, sets: Sequence[Obj]) -> Obj | None:
    """The ReplicaSet (the oldest, should there be two) whose template is the Deployment's."""
    wanted = _canonical(deployment["spec"]["template"])
    return next((s for s in sets if _canonical(s["spec"]["template"]) == wanted), None)


def others(sets: Sequence[Obj], *, new: Obj | None) -> list[Obj]:
    """All but the new one."""
    return [s for s in sets if new is None or s["metadata"]["uid"] != new["metadata"]["uid"]]


def _canonical(template: Obj) -> str:
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if v and k != "creationTimestamp"}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != _HASH}
    return json.dumps([{**metadata, "labels": labels}, template.get("spec")], sort_keys=True)


def fresh_set(deployment: Obj, *, replicas: int, revision: int, bounds: rollout.Bounds) -> Obj:
    """A ReplicaSet for the Deployment's template, named by the template's hash."""
    template = copied_object(deployment["spec"]["template"])
    digest = template_hash(template, collisions=collisions(deployment))
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), _HASH: digest}
    selector = copied_object(deployment["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), _HASH: digest}
    copied = {key: value for key, value in _annotations(deployment).items() if key not in _NOT_COPIED}
    return {
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{digest}",
            "labels": dict(metadata["labels"]),
            "annotations": copied | size_annotations(bounds) | {REVISION: str(revision)},
            "ownerReferences": [reference_to(deployment, resource=DEPLOYMENTS)],
        },
        "spec": {
            "replicas": replicas,
            "selector": selector,
            "template": template,
            "minReadySeconds": int(deployment["spec"].get("minReadySeconds") or 0),
        },
    }


def collisions(deployment: Obj) -> int:
    """How often the hash was another's name already."""
    return int((deployment.get("status") or {}).get("collisionCount") or 0)


def view_of(target: Obj) -> rollout.SetView:
    return rollout.SetView(
        name=target["metadata"]["name"],
        replicas=int(target["spec"].get("replicas", 1)),
        available=int((target.get("status") or {}).get("availableReplicas", 0)),
        created=target["metadata"]["creationTimestamp"],
        max_replicas=int(_annotations(target).get(_MOST, 0)),
    )


def revision_of(obj: Obj) -> int:
    return int(_annotations(obj).get(REVISION, 0))


def was_scaled(deployment: Obj, *, sets: Sequence[Obj]) -> bool:
    """Whether `spec.replicas` changed since the ReplicaSets were given their sizes."""
    desired = str(deployment["spec"].get("replicas", 1))
    return any(s["spec"].get("replicas") and _annotations(s).get(_DESIRED, desired) != desired for s in sets)


def is_saturated(target: Obj, *, desired: int) -> bool:
    available = (target.get("status") or {}).get("availableReplicas", 0)
    return target["spec"].get("replicas") == desired == available and _annotations(target).get(_DESIRED) == str(desired)


def size_annotations(bounds: rollout.Bounds) -> dict[str, str]:
    """The annotations by which a later look knows what the sizes were made for."""
    return {_DESIRED: str(bounds.desired), _MOST: str(bounds.most)}


def annotated(obj: Obj, values: Mapping[str, str]) -> Obj:
    """The object with these annotations too; the very object when it has them."""
    if values.items() <= _annotations(obj).items():
        return obj
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**_annotations(obj), **values}}}


def _annotations(obj: Obj) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}
